"""Truncated SVD of a large implicit-feedback matrix with weighted rows and columns.

One copy of the matrix, 5 bytes per rating, serves both products: for each block of users, A X and
then A' A X are computed. They gather and scatter rows of movies, mostly popular ones, which stay
in the cache; a transposed copy would gather rows of users, which do not. Everything runs on one
core (SciPy holds the GIL anyway). So the result does not depend on the number of cores, and
training can run at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
import polars as pl
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys.errors import VectorError
from recsys.vectors.kinds import (
    KINDS,
    Kinds,
    KindWeights,
    PeriodCounts,
    count_periods,
)

BLOCK_RATINGS: Final = 1 << 22
"""Maximum ratings of a block of users, unless a single user has more."""
_KIND_BITS: Final = 7
_MOST_MOVIES: Final = 1 << (32 - _KIND_BITS)
_OVERSAMPLE: Final = 16
# Eigenvalues below this share of the largest are rounding noise in single precision.
_NOISE: Final = 1e-6

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FeedbackMatrix:
    """The implicit-feedback matrix users x movies, 5 bytes for each rating.

    Attributes:
        ids: movieIds (movies,), ascending.
        by_user: number of ratings of each user, int64 (users,), ascending by userId.
        blocks: the matrix in blocks of rows, float32 (users of the block, movies): 1 for each
            rating.
        kinds: for each block, the kinds of its ratings (`recsys.vectors.kinds`), uint8.
    """

    ids: NDArray[np.integer[Any]]
    by_user: NDArray[np.int64]
    blocks: tuple[sp.csr_matrix, ...]
    kinds: tuple[Kinds, ...]

    @classmethod
    def from_interactions(cls, interactions: pl.LazyFrame, ids: pl.Series | None = None) -> Self:
        """Builds the matrix of interactions in any order.

        Args:
            interactions: the result of `with_kinds`: userId and movieId (positive) and kind; each
                pair of user and movie at most once; not empty.
            ids: movieIds of the columns, ascending; None: those of the interactions.

        Raises:
            VectorError: there are more movies than a rating's place has bits for.
        """
        if ids is None:
            ids = _distinct(interactions, "movieId")
        if len(ids) > _MOST_MOVIES:
            raise VectorError(
                "too many movies for the feedback matrix", found=len(ids), expected=_MOST_MOVIES
            )
        users = _distinct(interactions, "userId")
        if users.dtype == pl.Int64:
            # A place takes 31 bits where an id takes 63; both are in the same order.
            places = pl.LazyFrame({"userId": users, "user": np.arange(len(users), dtype=np.int32)})
            numbered = interactions.join(places, on="userId", how="left")
            interactions = numbered.with_columns(userId=pl.col("user"))
            users = pl.Series(np.arange(len(users), dtype=np.int32))
        ratings = _sorted_ratings(interactions, ids)
        firsts = users.to_numpy().astype(np.int64) << 32
        starts = np.append(np.searchsorted(ratings, firsts), len(ratings))
        ones = np.ones(0, np.float32)
        blocks, kinds = [], []
        first = 0
        while first < len(firsts):
            end = int(np.searchsorted(starts, starts[first] + BLOCK_RATINGS, side="right")) - 1
            # One user may have more ratings than a block.
            end = max(end, first + 1)
            own = ratings[starts[first] : starts[end]]
            if len(own) > len(ones):
                ones = np.ones(len(own), np.float32)
            movies = ((own & 0xFFFFFFFF) >> _KIND_BITS).astype(np.int32)
            begins = (starts[first : end + 1] - starts[first]).astype(np.int32)
            shape = (end - first, len(ids))
            blocks.append(sp.csr_matrix((ones[: len(own)], movies, begins), shape=shape))
            kinds.append((own & (KINDS - 1)).astype(np.uint8))
            first = end
        return cls(ids.to_numpy(), np.diff(starts), tuple(blocks), tuple(kinds))

    def count_periods(self) -> PeriodCounts:
        """Counts users and ratings by period."""
        blocks = [
            (kinds, block.indices, block.indptr[:-1])
            for kinds, block in zip(self.kinds, self.blocks, strict=True)
        ]
        return count_periods(blocks, len(self.ids))


def _distinct(interactions: pl.LazyFrame, column: str) -> pl.Series:
    """Returns the distinct values of a column, ascending."""
    values = interactions.select(pl.col(column).unique()).collect(engine="streaming")
    return values.to_series().sort()


def _sorted_ratings(interactions: pl.LazyFrame, ids: pl.Series) -> NDArray[np.int64]:
    """Returns userId, column of the movie and kind of each rating in one number, ascending."""
    places = pl.LazyFrame({"movieId": ids, "place": np.arange(len(ids), dtype=np.int64)})
    packed = interactions.join(places, on="movieId", how="left").select(
        pl.col("userId").cast(pl.Int64) * 2**32 + pl.col("place") * KINDS + pl.col("kind")
    )
    # The columns of a file are streamed; only the numbers are in memory at once.
    ratings = packed.collect(engine="streaming").to_series().to_numpy(writable=True)
    ratings.sort()
    return ratings


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
        weights: weights of the ratings.
        rows: additional rows, float32 (m, movies).
    """

    feedback: FeedbackMatrix
    user_weight: Floats
    weights: KindWeights
    rows: sp.csr_matrix

    @property
    def columns(self) -> int:
        """Number of movies."""
        return self.weights.movies

    def gram(self, block: Floats) -> Floats:
        """Returns A' A X for X float32 (movies, k)."""
        product = np.zeros_like(block)
        first = 0
        for ones, kinds in zip(self.feedback.blocks, self.feedback.kinds, strict=True):
            end = first + ones.shape[0]
            values = self.weights.of(kinds, ones.indices)
            users = sp.csr_matrix((values, ones.indices, ones.indptr), shape=ones.shape)
            profiles = users @ block
            profiles *= np.square(self.user_weight[first:end, None])
            product += users.T @ profiles
            first = end
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
