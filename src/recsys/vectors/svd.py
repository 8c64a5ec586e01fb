"""The leading axes of a large sparse pattern of zeros and ones with weighted rows and columns.

One copy of the pattern, 4 bytes a rating, serves both products: users come in blocks, and of each
block X -> A X and at once A X -> A' A X is made. What is gathered and scattered are rows of
movies, the popular ones mostly, which stay in the cache; a transposed copy would gather rows of
users, which do not. All of it runs on one core (SciPy keeps the interpreter's lock anyway), so
the bits do not depend on the number of cores, and training may run beside it.
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
"""Ratings of the users that are looked at together."""
_OVERSAMPLE: Final = 16
# Eigenvalues below this share of the largest are rounding noise in single precision.
_NOISE: Final = 1e-6

Floats = NDArray[np.float32]
SAMPLE = 1
FULL = 2


@dataclass(frozen=True)
class FeedbackMatrix:
    """Which user rated which movie: 4 bytes for each rating.

    Attributes:
        ids: movieIds, int32 (movies,), ascending.
        by_user: ratings of each user, int64 (users,), users ascending by id.
        by_movie: ratings of each movie, int64 (movies,).
        blocks: matrices of ones, stacked: float32 (users of the block, movies).
    """

    ids: NDArray[np.int32]
    by_user: NDArray[np.int64]
    by_movie: NDArray[np.int64]
    blocks: tuple[sp.csr_matrix, ...]

    @classmethod
    def from_interactions(cls, interactions: pl.DataFrame, ids: pl.Series | None = None) -> Self:
        """The pattern of interactions, whatever the order of their rows.

        Args:
            interactions: userId, movieId (positive, int32), every pair at most once; not empty.
            ids: the movies, int32 ascending, where these are only a part of the interactions.
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
    """A matrix A of which only products with A' A are asked."""

    @property
    def columns(self) -> int:
        """How many columns it has."""

    def gram(self, block: Floats) -> Floats:
        """A' A X for X float32 (columns, k)."""


@dataclass(frozen=True)
class WeightedFeedbackMatrix:
    """A matrix that is never made: the weighted pattern, and a few rows more below it.

    Attributes:
        pattern: users x movies.
        user_weight: float32 (users,).
        movie_weight: float32 (movies,).
        rows: further rows, float32 (m, movies).
    """

    pattern: FeedbackMatrix
    user_weight: Floats
    movie_weight: Floats
    rows: sp.csr_matrix

    @property
    def columns(self) -> int:
        """Movies."""
        return len(self.movie_weight)

    def gram(self, block: Floats) -> Floats:
        """A' A X for X float32 (movies, k)."""
        weighted = block * self.movie_weight[:, None]
        made = np.zeros_like(block)
        first = 0
        for users in self.pattern.blocks:
            end = first + users.shape[0]
            profiles = users @ weighted
            profiles *= np.square(self.user_weight[first:end, None])
            made += users.T @ profiles
            first = end
        made *= self.movie_weight[:, None]
        made += self.rows.T @ (self.rows @ block)
        return made


def leading_axes(
    matrix: Matrix, rank: int, *, seed: int, rounds: int
) -> tuple[Floats, NDArray[np.float64]]:
    """The leading right singular vectors of a matrix, and its singular values, largest first.

    Subspace iteration from a random start (Halko, Martinsson and Tropp, SIAM Review 53, 2011),
    and the Nystrom approximation of A' A at its end (Tropp, Yurtsever, Udell and Cevher, NeurIPS
    2017), which is as good as another round at no product more. Memory: the pattern, and four
    float32 matrices (movies, rank + 16).

    Args:
        matrix: A, of n columns.
        rank: how many are wanted; fewer come back where the matrix has fewer.
        seed: of the random start.
        rounds: products with A' A, at least 1.

    Returns:
        Axes float32 (n, found), orthonormal, and singular values float64 (found,).
    """
    n = matrix.columns
    width = min(n, rank + _OVERSAMPLE)
    block = np.random.default_rng(seed).standard_normal((n, width), np.float32)
    # BLAS rounds otherwise with another number of threads; the dense part is a tenth of the work.
    with threadpool_limits(1, "blas"):
        for _ in range(rounds):
            start = _orthonormal(block)
            block = matrix.gram(start)
        return _nystrom(start, block, rank)


def _orthonormal(block: Floats) -> Floats:
    """An orthonormal basis of the columns of (n, k)."""
    # NumPy's qr computes in double precision, column by column: four times as long.
    basis = scipy.linalg.qr(
        np.asfortranarray(block), mode="economic", overwrite_a=True, check_finite=False
    )[0]
    # By rows again: the sparse products gather rows.
    return np.ascontiguousarray(basis)


def _nystrom(start: Floats, block: Floats, rank: int) -> tuple[Floats, NDArray[np.float64]]:
    """Axes and singular values of A from an orthonormal Q and A' A Q."""
    core = (start.T @ block).astype(np.float64)
    values, turns = np.linalg.eigh((core + core.T) / 2)
    kept = values > _NOISE * max(values[-1], 0.0)
    half = block @ (turns[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    squared, turns = np.linalg.eigh((half.T @ half).astype(np.float64))
    order = np.argsort(-squared)[: min(rank, int((squared > _NOISE * squared[-1]).sum()))]
    singular = np.sqrt(squared[order])
    return half @ (turns[:, order] / singular).astype(np.float32), singular
