"""Cuts a dataset into the dumps that its publisher could have made in the past."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import polars as pl

from recsys.dataset import write_dataset
from recsys.errors import DatasetError

_MOVIES: Final = "movies.csv"
_RATINGS: Final = "ratings.csv"


@dataclass(frozen=True)
class Dump:
    """A dataset as it was at a moment.

    Attributes:
        number: from 1.
        path: the zip; its md5 is in the file of the same name with ``.md5``.
        md5: of the zip.
        until: the newest rating that it may contain, seconds since 1970.
        ratings: number of ratings.
    """

    number: int
    path: Path
    md5: str
    until: int
    ratings: int


@dataclass(frozen=True)
class History:
    """A dataset in memory.

    Attributes:
        movies: content of movies.csv.
        ratings: userId, movieId, rating, timestamp as in the file, oldest first.
    """

    movies: bytes
    ratings: pl.DataFrame

    @classmethod
    def read(cls, path: Path) -> History:
        """Reads a zip in MovieLens format.

        Raises:
            DatasetError: a file or column is missing, or a timestamp is not a whole number.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.rpartition("/")[2]: name for name in archive.namelist()}
                movies = archive.read(names[_MOVIES])
                ratings = pl.read_csv(
                    io.BytesIO(archive.read(names[_RATINGS])),
                    schema_overrides={"rating": pl.String, "timestamp": pl.Int64},
                )
            ratings = ratings.select("userId", "movieId", "rating", "timestamp")
        except (OSError, KeyError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
            raise DatasetError(
                f"{path} is not a dataset whose history can be replayed",
                found=f"{type(error).__name__}: {error}",
                expected="a zip with movies.csv and ratings.csv with whole timestamps",
            ) from error
        return cls(movies, ratings.sort("timestamp", maintain_order=True))

    def ends(self, every_s: int, dumps: int, first_share: float) -> list[int]:
        """Returns the moments of dumps, oldest first; the last one contains all ratings.

        Moments without at least one rating since the one before are left out.

        Args:
            every_s: seconds between two moments.
            dumps: largest number of dumps; the newest are kept.
            first_share: share of all ratings that the first dump must contain.
        """
        times = self.ratings["timestamp"]
        first = times[min(int(first_share * len(times)), len(times) - 1)]
        found, moment = [times[-1]], times[-1] - every_s
        while moment >= first and len(found) < dumps:
            if int((times.is_between(moment, found[-1], closed="right")).sum()):
                found.append(moment)
            moment -= every_s
        return found[::-1]

    def write(
        self, folder: Path, ends: Sequence[int], faults: Mapping[int, Fault] | None = None
    ) -> list[Dump]:
        """Writes a dump for each moment; existing ones are written again with the same bytes.

        Args:
            folder: an existing folder.
            ends: moments.
            faults: planted faults, by number of the dump.
        """
        made = []
        for number, end in enumerate(ends, 1):
            fault = (faults or {}).get(number)
            ratings = spoil(self, ends, number, fault) if fault else self.ratings
            part = ratings.filter(pl.col("timestamp") <= end)
            path = folder / f"dump-{number:03}.zip"
            md5 = write_dataset(path, self.movies, [part.write_csv().encode()])
            made.append(Dump(number, path, md5, end, part.height))
        return made


class Fault(StrEnum):
    """A planted fault of a dump or of the training on it."""

    DEGRADED = "degraded model"
    """The rating model is not trained."""
    STALE = "stale data"
    """The publisher serves a dump again that is a third of all dumps old."""
    POPULARITY = "popularity in disguise"
    """The towers are not trained: their biases rank, which are popularity's."""
    SHUFFLED = "shuffled ids"
    """User ids are dealt anew."""
    DECAY = "slow decay"
    """Each dump lacks more of the newest ratings than the one before."""


def plan_faults(dumps: int) -> dict[int, Fault]:
    """Returns the planted faults by number of the dump; none for fewer than eight dumps.

    The dump after a fault is sound again; the decay takes the last sixth but for the last dump.
    """
    if dumps < 8:
        return {}
    first_decay = dumps - dumps // 6
    single = (Fault.DEGRADED, Fault.STALE, Fault.POPULARITY, Fault.SHUFFLED)
    step = max(1, (first_decay - 3) // len(single))
    planned = {3 + step * place: fault for place, fault in enumerate(single)}
    return planned | {number: Fault.DECAY for number in range(first_decay, dumps)}


def spoil(history: History, ends: Sequence[int], number: int, fault: Fault) -> pl.DataFrame:
    """Returns the ratings of a dump with a planted fault of its data.

    Args:
        history: the sound ratings.
        ends: moments of all dumps.
        number: of the dump, from 1.
        fault: the fault; those of the training leave the ratings as they are.
    """
    ratings = history.ratings
    if fault is Fault.STALE:
        return ratings.filter(pl.col("timestamp") <= ends[max(0, number - 1 - len(ends) // 3)])
    if fault is Fault.DECAY:
        lag = sum(
            1 for one, what in plan_faults(len(ends)).items() if what is fault and one <= number
        )
        kept = 1 - 0.1 * lag
        part = ratings.filter(pl.col("timestamp") <= ends[number - 1])
        # Of each user, the newest share of ratings is lost.
        rank = pl.col("timestamp").rank("ordinal").over("userId") / pl.len().over("userId")
        return part.filter((rank <= kept) | (pl.len().over("userId") < 10))
    if fault is Fault.SHUFFLED:
        ids = ratings["userId"].unique(maintain_order=True)
        dealt = ids.sample(fraction=1, shuffle=True, seed=number)
        return ratings.with_columns(userId=pl.col("userId").replace(ids, dealt))
    return ratings
