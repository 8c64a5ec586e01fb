"""The kind of a rating: the two years in which it was given, and whether it is below the mean.

The users of one season rate what is new in that season. So a rating says little if many users who
were active in the same two years rated the movie, however rare the movie is overall. A rating below
the mean of its user says less than one above it. Both together fit into one byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

PERIOD_SECONDS: Final = 2 * 31_556_952
"""Two Gregorian years; periods of one and of three years are as good (ADR 4)."""
UNKNOWN_PERIOD: Final = 63
"""Period of ratings without a valid time. Period 62 ends in 2096; later ratings belong to it."""
KINDS: Final = 2 * (UNKNOWN_PERIOD + 1)
_SHRINKAGE: Final = 30
"""Users who are added to each period, with the tastes of all periods."""
_BELOW_MEAN: Final = np.float32(0.7)
"""Weight of a rating below its user's mean; 1 above it."""

Kinds = NDArray[np.uint8]


def with_kinds(interactions: pl.LazyFrame) -> pl.LazyFrame:
    """Returns userId, movieId and kind: twice the period, plus 1 if the rating is below the mean.

    Args:
        interactions: userId, movieId; rating and timestamp (seconds) if they are known. All rows of
            a user must be given.
    """
    columns = interactions.collect_schema().names()
    kind = pl.lit(2 * UNKNOWN_PERIOD)
    if "timestamp" in columns:
        period = (pl.col("timestamp") // PERIOD_SECONDS).clip(upper_bound=UNKNOWN_PERIOD - 1)
        kind = 2 * pl.when(period >= 0).then(period).otherwise(UNKNOWN_PERIOD)
    if "rating" in columns:
        stars = pl.col("rating").cast(pl.Float64)
        means = interactions.group_by("userId").agg(mean=stars.mean())
        # Collected first: in one query, the rows would wait in memory for the means.
        means = means.collect(engine="streaming").lazy()
        interactions = interactions.join(means, on="userId", how="left")
        kind += (stars < pl.col("mean")).fill_null(value=False).cast(pl.Int64)
    return interactions.select("userId", "movieId", kind=kind.cast(pl.UInt8))


@dataclass(frozen=True)
class PeriodCounts:
    """Users and ratings by period.

    Attributes:
        periods: periods with ratings, ascending, int64 (p,).
        users: users who rated anything in each period, int64 (p,).
        ratings: number of ratings of each movie in each period, int32 (p, movies).
    """

    periods: NDArray[np.int64]
    users: NDArray[np.int64]
    ratings: NDArray[np.int32]

    def __add__(self, other: PeriodCounts) -> PeriodCounts:
        """Adds the counts of other users for the same movies."""
        periods = np.union1d(self.periods, other.periods)
        users = np.zeros(len(periods), np.int64)
        ratings = np.zeros((len(periods), self.ratings.shape[1]), np.int32)
        for part in (self, other):
            at = np.searchsorted(periods, part.periods)
            users[at] += part.users
            ratings[at] += part.ratings
        return PeriodCounts(periods, users, ratings)


@dataclass(frozen=True)
class KindWeights:
    """Weight of a rating by its kind and movie.

    Attributes:
        row_of: row of ``table`` for each kind, int64 (`KINDS`,).
        table: float32 (rows, movies).
    """

    row_of: NDArray[np.int64]
    table: NDArray[np.float32]

    @classmethod
    def from_counts(cls, counts: PeriodCounts, users: int) -> KindWeights:
        """Computes the rarity of each movie within each period.

        If n of the N users who were active in a period rated a movie there, and a share g of all
        users did, a rating weighs log((N + k + 1) / (n + k g)): the smoothed inverse frequency,
        with k more users of average taste. Without a period (n = N = 0) this is the movie's overall
        rarity.

        Args:
            counts: of all users.
            users: number of users.
        """
        share = counts.ratings.sum(axis=0, dtype=np.int64) / users
        table = np.empty((2 * len(counts.periods), len(share)), np.float32)
        row_of = np.zeros(KINDS, np.int64)
        for at, period in enumerate(counts.periods):
            known = period != UNKNOWN_PERIOD
            active = counts.users[at] * known + _SHRINKAGE
            rated = counts.ratings[at] * known + _SHRINKAGE * share
            table[2 * at] = np.log((active + 1) / rated)
            table[2 * at + 1] = _BELOW_MEAN * table[2 * at]
            row_of[2 * period : 2 * period + 2] = 2 * at, 2 * at + 1
        return cls(row_of, table)

    @property
    def movies(self) -> int:
        """Number of movies."""
        return int(self.table.shape[1])

    def of(self, kinds: Kinds, movies: NDArray[np.int32]) -> NDArray[np.float32]:
        """Returns the weights of ratings, by their kinds and the columns of their movies."""
        place = self.row_of[kinds]
        place *= self.movies
        place += movies
        weights: NDArray[np.float32] = self.table.ravel().take(place)
        return weights


def count_periods(
    blocks: list[tuple[Kinds, NDArray[np.int32], NDArray[np.int32]]], movies: int
) -> PeriodCounts:
    """Counts users and ratings by period.

    Args:
        blocks: for disjoint users: kinds and movies of their ratings, user by user, and the start
            of each user's ratings.
        movies: number of movies.
    """
    used = np.zeros(UNKNOWN_PERIOD + 1, np.int64)
    for kinds, _, _ in blocks:
        used += np.bincount(kinds >> 1, minlength=len(used))
    periods = np.flatnonzero(used)
    users = np.zeros(len(periods), np.int64)
    ratings = np.zeros((len(periods), movies), np.int32)
    for kinds, columns, starts in blocks:
        period_of = kinds >> 1
        for at, period in enumerate(periods):
            inside = period_of == period
            # Every user has a rating, so no range between two starts is empty.
            users[at] += np.logical_or.reduceat(inside, starts).sum()
            ratings[at] += np.bincount(columns[inside], minlength=movies).astype(np.int32)
    return PeriodCounts(periods, users, ratings)
