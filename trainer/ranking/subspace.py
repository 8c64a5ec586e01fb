"""Leading singular triplets of a large matrix that is only known by its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.linalg import qr, svd
from threadpoolctl import threadpool_limits

from trainer.data import Floats

_OVERSAMPLING: Final = 10
_ITERATIONS: Final = 3

Product = Callable[[Floats], Floats]


def leading_triplets(
    times: Product, transposed_times: Product, columns: int, dim: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Returns left vectors, singular values and right vectors by subspace iteration.

    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011.

    Args:
        times: multiplies the matrix by a block (columns, n).
        transposed_times: multiplies its transpose by a block (rows, n).
        columns: number of columns of the matrix.
        dim: number of triplets; fewer are returned if the matrix is smaller.
        rng: the same state gives the same result on the same machine.

    Returns:
        Shapes (rows, dim), (dim,) and (columns, dim).
    """

    def orthonormal(block: Floats) -> Floats:
        # In single precision; NumPy's computes in double precision.
        basis: Floats = qr(block, mode="economic", check_finite=False)[0]
        return basis

    width = min(dim + _OVERSAMPLING, columns)
    # These blocks are narrow: a second thread mostly waits, and on a busy machine waiting took ten
    # times the CPU time of the work.
    with threadpool_limits(1, "blas"):
        basis = times(rng.standard_normal((columns, width), dtype=np.float32))
        for _ in range(_ITERATIONS):
            basis = times(orthonormal(transposed_times(orthonormal(basis))))
        basis = orthonormal(basis)
        right, scale, left = svd(transposed_times(basis), full_matrices=False, check_finite=False)
        return (basis @ left.T)[:, :dim], scale[:dim], right[:, :dim]
