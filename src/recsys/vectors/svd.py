"""Truncated SVD of a large implicit-feedback matrix with weighted rows and columns.

One copy of the matrix, 4 bytes per rating, serves both products: for each block of users, A X and
then A' A X are computed. They gather and scatter rows of movies, mostly popular ones, which stay
in the cache; a transposed copy would gather rows of users, which do not. Everything runs on one
core (SciPy holds the GIL anyway). So the result does not depend on the number of cores, and
training can run at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np
import polars as pl
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

BLOCK_RATINGS: Final = 1 << 22
"""Maximum ratings of a block of users, unless a single user has more."""
_OVERSAMPLE: Final = 16
# Eigenvalues below this share of the largest are rounding noise in single precision.
_NOISE: Final = 1e-6

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FeedbackMatrix:
    """The implicit-feedback matrix users x movies: 1 for each rating, 4 bytes each.

    Attributes:
        ids: movieIds, int32 (movies,), ascending.
        by_user: number of ratings of each user, int64 (users,), ascending by userId.
        by_movie: number of ratings of each movie, int64 (movies,).
        blocks: the matrix in blocks of rows, float32 (users of the block, movies).
    """

    ids: NDArray[np.int32]
    by_user: NDArray[np.int64]
    by_movie: NDArray[np.int64]
    blocks: tuple[sp.csr_matrix, ...]

    @classmethod
    def from_interactions(cls, interactions: pl.DataFrame, ids: pl.Series | None = None) -> Self:
        """Builds the matrix of interactions in any order.

        Args:
            interactions: userId, movieId (positive, int32); each pair at most once; not empty.
            ids: movieIds of the columns, int32 ascending; None: those of the interactions.
        """
        pairs = interactions["userId"].to_numpy().astype(np.int64)
        pairs <<= 32
        pairs |= interactions["movieId"].to_numpy()
        pairs.sort()
        users = interactions["userId"].unique().sort().to_numpy()
        starts = np.append(np.searchsorted(pairs, users.astype(np.int64) << 32), len(pairs))
        ids = interactions["movieId"].unique().sort() if ids is None else ids
        places = pl.Series(np.arange(len(ids), dtype=np.int32))
        ones = np.ones(0, np.float32)
        blocks = []
        first = 0
        while first < len(users):
            end = int(np.searchsorted(starts, starts[first] + BLOCK_RATINGS, side="right")) - 1
            # One user may have more ratings than a block.
            end = max(end, first + 1)
            movies = pl.Series(pairs[starts[first] : starts[end]].astype(np.int32))
            at = movies.replace_strict(ids, places, return_dtype=pl.Int32).to_numpy()
            if len(at) > len(ones):
                ones = np.ones(len(at), np.float32)
            begins = (starts[first : end + 1] - starts[first]).astype(np.int32)
            shape = (end - first, len(ids))
            blocks.append(sp.csr_matrix((ones[: len(at)], at, begins), shape=shape))
            first = end
        by_movie = np.zeros(len(ids), np.int64)
        for block in blocks:
            by_movie += np.bincount(block.indices, minlength=len(ids))
        return cls(ids.to_numpy(), np.diff(starts), by_movie, tuple(blocks))


class Matrix(Protocol):
    """A matrix A that is only used through products with A' A."""

    @property
    def columns(self) -> int:
        """Number of columns."""

    def gram(self, block: Floats) -> Floats:
        """Returns A' A X for X float32 (columns, k)."""


@dataclass(frozen=True)
class WeightedFeedbackMatrix:
    """The feedback matrix with weights and additional rows; it is never materialized.

    Attributes:
        feedback: users x movies.
        user_weight: float32 (users,).
        movie_weight: float32 (movies,).
        rows: additional rows, float32 (m, movies).
    """

    feedback: FeedbackMatrix
    user_weight: Floats
    movie_weight: Floats
    rows: sp.csr_matrix

    @property
    def columns(self) -> int:
        """Number of movies."""
        return len(self.movie_weight)

    def gram(self, block: Floats) -> Floats:
        """Returns A' A X for X float32 (movies, k)."""
        weighted = block * self.movie_weight[:, None]
        product = np.zeros_like(block)
        first = 0
        for users in self.feedback.blocks:
            end = first + users.shape[0]
            profiles = users @ weighted
            profiles *= np.square(self.user_weight[first:end, None])
            product += users.T @ profiles
            first = end
        product *= self.movie_weight[:, None]
        product += self.rows.T @ (self.rows @ block)
        return product


def leading_axes(
    matrix: Matrix, rank: int, *, seed: int, rounds: int
) -> tuple[Floats, NDArray[np.float64]]:
    """Computes the leading right singular vectors and singular values, largest first.

    Subspace iteration from a random start (Halko, Martinsson and Tropp, SIAM Review 53, 2011), then
    the Nystrom approximation of A' A (Tropp, Yurtsever, Udell and Cevher, NeurIPS 2017), which
    improves the result as much as another round without another product. Memory: the matrix, and
    four float32 matrices (n, rank + 16).

    Args:
        matrix: A, with n columns.
        rank: maximum number of axes; the result has fewer if the matrix has a lower rank.
        seed: seed of the random start.
        rounds: number of products with A' A, at least 1.

    Returns:
        Axes float32 (n, r), orthonormal, and singular values float64 (r,).
    """
    n = matrix.columns
    width = min(n, rank + _OVERSAMPLE)
    block = np.random.default_rng(seed).standard_normal((n, width), np.float32)
    # With another number of threads BLAS rounds differently; this is a tenth of the work.
    with threadpool_limits(1, "blas"):
        for _ in range(rounds):
            start = _orthonormal(block)
            block = matrix.gram(start)
        return _nystrom(start, block, rank)


def _orthonormal(block: Floats) -> Floats:
    """Returns an orthonormal basis of the columns of (n, k)."""
    # NumPy's qr computes in double precision and takes four times as long.
    basis = scipy.linalg.qr(
        np.asfortranarray(block), mode="economic", overwrite_a=True, check_finite=False
    )[0]
    # Row-major again, because the sparse products gather rows.
    return np.ascontiguousarray(basis)


def _nystrom(start: Floats, block: Floats, rank: int) -> tuple[Floats, NDArray[np.float64]]:
    """Computes axes and singular values of A from an orthonormal Q and A' A Q."""
    core = (start.T @ block).astype(np.float64)
    values, rotation = np.linalg.eigh((core + core.T) / 2)
    is_signal = values > _NOISE * max(values[-1], 0.0)
    half = block @ (rotation[:, is_signal] / np.sqrt(values[is_signal])).astype(np.float32)
    squared, rotation = np.linalg.eigh((half.T @ half).astype(np.float64))
    order = np.argsort(-squared)[: min(rank, int((squared > _NOISE * squared[-1]).sum()))]
    singular = np.sqrt(squared[order])
    return half @ (rotation[:, order] / singular).astype(np.float32), singular
