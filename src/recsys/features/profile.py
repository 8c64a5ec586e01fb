"""Profile of a dataset: distributions, growth and gaps, of bounded size, for ``stats.json``.

The bins depend on the scale, not on the data (half points of the scale, powers of two, quarters,
decades, genres), so that `recsys.features.drift` can compare the profiles of two datasets.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.contract import STARS, STEP, RatingScale
from recsys.features.rules import MAX_TIMESTAMP
from recsys.features.stats import Gap, Profile

MAX_GENRES: Final = 40
"""Number of genres with their own bin (MovieLens has 19); rarer ones are counted as `OTHER`."""
MAX_GAPS: Final = 5
OTHER: Final = "other"
NONE: Final = "none"
_MAX_NAME: Final = 40
_DAY: Final = 86_400
_DAYS: Final = MAX_TIMESTAMP // _DAY + 1
_MAX_COUNT_TABLES: Final = 8

Int64s = npt.NDArray[np.int64]


class Profiler:
    """Accumulates a profile from the parts of the interactions.

    Args:
        scale: of the ratings.
    """

    def __init__(self, scale: RatingScale = STARS) -> None:
        self._scale = scale
        self.rows = 0
        self.users = 0
        self.first_timestamp = MAX_TIMESTAMP
        self.last_timestamp = 0
        # By rating in half points, from 0 to the largest.
        self._ratings = np.zeros(round(scale.max / STEP) + 1, np.int64)
        self._activity = np.zeros(33, np.int64)
        self._days = np.zeros(_DAYS, np.int64)
        self._user_ids: list[int] = []
        self._counts: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Adds a sorted part of the interactions, with all rows of its users.

        The users of a part come after those of all earlier parts.
        """
        self.rows += rows.height
        in_steps = (rows["rating"] / STEP).cast(pl.UInt8).to_numpy()
        self._ratings += np.bincount(in_steps, minlength=len(self._ratings))
        per_user = rows["userId"].rle_id()
        counts = np.bincount(per_user.to_numpy())
        self.users += len(counts)
        self._activity += np.bincount(_doublings(counts), minlength=33)
        self._user_ids = [*self._user_ids[:1], int(rows["userId"][0]), int(rows["userId"][-1])]
        times = rows["timestamp"].to_numpy()
        self.first_timestamp = min(self.first_timestamp, int(times.min()))
        self.last_timestamp = max(self.last_timestamp, int(times.max()))
        days = np.bincount(times // _DAY)
        self._days[: len(days)] += days
        self._counts.append(rows.group_by("movieId").len())
        if len(self._counts) > _MAX_COUNT_TABLES:
            self._counts = [self.movie_counts()]

    def merge(self, later: Profiler) -> None:
        """Adds what another profiler accumulated; its users come after all users of this one."""
        self.rows += later.rows
        self.users += later.users
        self.first_timestamp = min(self.first_timestamp, later.first_timestamp)
        self.last_timestamp = max(self.last_timestamp, later.last_timestamp)
        self._ratings += later._ratings
        self._activity += later._activity
        self._days += later._days
        self._user_ids = [*self._user_ids[:1], *later._user_ids]
        self._counts = [pl.concat([*self._counts, *later._counts])]
        self._counts = [self.movie_counts()]

    def movie_counts(self) -> pl.DataFrame:
        """Returns movieId and len (number of interactions) of each rated movie, by movieId."""
        counts = pl.concat(self._counts).group_by("movieId").agg(pl.col("len").sum())
        return counts.sort("movieId")

    def mean_rating(self) -> float:
        """Returns the mean rating, in the scale of the dataset."""
        return float(self._ratings @ np.arange(len(self._ratings))) * STEP / self.rows

    def profile(self, movies: pl.DataFrame) -> Profile:
        """Returns the profile of all rows added; there must be at least one.

        Args:
            movies: ``validation.MOVIE_SCHEMA``.
        """
        counts = self.movie_counts()
        popularity = np.bincount(_doublings(counts["len"].to_numpy()), minlength=33)
        unrated = movies.height - counts.height
        return Profile(
            ratings={
                f"{rating:.1f}": int(self._ratings[round(rating / STEP)])
                for rating in self._scale.steps()
            },
            user_activity=_by_doublings(self._activity),
            movie_popularity={"0": unrated} | _by_doublings(popularity),
            growth=self._growth(),
            gaps=self._gaps(),
            release_years=_release_years(movies),
            genres=_genres(movies),
            user_ids=(self._user_ids[0], self._user_ids[-1]),
            movie_ids=(int(counts["movieId"][0]), int(counts["movieId"][-1])),
        )

    def _growth(self) -> dict[str, int]:
        quarters: Counter[str] = Counter()
        for day in np.flatnonzero(self._days).tolist():
            date = _date(day)
            quarters[f"{date.year}-Q{(date.month + 2) // 3}"] += int(self._days[day])
        return dict(quarters)

    def _gaps(self) -> list[Gap]:
        rated = np.flatnonzero(self._days)
        empty = np.diff(rated) - 1
        longest = np.argsort(-empty, kind="stable")[:MAX_GAPS]
        return [
            Gap(after=f"{_date(int(rated[i])):%Y-%m-%d}", days=int(empty[i]))
            for i in longest
            if empty[i] > 0
        ]


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def _doublings(counts: Int64s) -> Int64s:
    """Returns the floor of the binary logarithm of positive counts."""
    return np.frexp(counts.astype(np.float64))[1].astype(np.int64) - 1


def _by_doublings(bins: Int64s) -> dict[str, int]:
    last = int(np.flatnonzero(bins)[-1])
    names = ["1", *(f"{1 << i}-{(2 << i) - 1}" for i in range(1, last + 1))]
    return {name: int(bins[i]) for i, name in enumerate(names)}


def _release_years(movies: pl.DataFrame) -> dict[str, int]:
    decades = movies.select((pl.col("year") // 10 * 10).alias("decade"))
    counted = decades.group_by("decade").len().sort("decade", nulls_last=True)
    return {NONE if d is None else f"{d}s": n for d, n in counted.iter_rows()}


def _genres(movies: pl.DataFrame) -> dict[str, int]:
    """Counts movies by genre. Names come from the dataset, so length and number are bounded."""
    counted = (
        movies.filter(pl.col("genres").list.len() > 0)
        .select(pl.col("genres").explode().str.slice(0, _MAX_NAME).alias("genre"))
        .group_by("genre")
        .len()
        .sort("len", "genre", descending=[True, False])
    )
    bins = dict(counted.head(MAX_GENRES).iter_rows())
    rarer = int(counted[MAX_GENRES:]["len"].sum())
    without = movies.filter(pl.col("genres").list.len() == 0).height
    for name, count in ((OTHER, rarer), (NONE, without)):
        if count:
            bins[name] = bins.get(name, 0) + count
    return bins
