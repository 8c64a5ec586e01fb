"""Cuts a dataset into the dumps that its publisher could have made in the past."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
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
        self, folder: Path, ends: Sequence[int], tampered: pl.DataFrame | None = None
    ) -> list[Dump]:
        """Writes a dump for each moment; existing ones are written again with the same bytes.

        Args:
            folder: an existing folder.
            ends: moments.
            tampered: ratings in place of the history's, for planted faults.
        """
        ratings = self.ratings if tampered is None else tampered
        made = []
        for number, end in enumerate(ends, 1):
            part = ratings.filter(pl.col("timestamp") <= end)
            path = folder / f"dump-{number:03}.zip"
            md5 = write_dataset(path, self.movies, [part.write_csv().encode()])
            made.append(Dump(number, path, md5, end, part.height))
        return made
