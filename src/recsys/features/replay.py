"""Replay of quarantined rows after a fix: validates them again and writes a new dataset.

The features of a dataset never change for the same settings. So the rows come back as a new
dataset with its own md5: the valid rows of the old dataset, and the repaired rows. The new dataset
goes through the whole pipeline like any other.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from recsys.contract import NARROW, STARS, IdBits, RatingScale
from recsys.dataset import (
    MOVIE_COLUMNS,
    MOVIES_CSV,
    NO_GENRES,
    RATING_COLUMNS,
    RATINGS_CSV,
    DatasetArchive,
    write_dataset,
)
from recsys.errors import DatasetError
from recsys.features.csv_reader import read_movies, read_ratings
from recsys.features.quarantine import Examples, Rejected, no_valid_rows_error
from recsys.features.rules import TOLERATED_RULES, Rule
from recsys.features.stats import FileStats

_CHUNK: Final = 1 << 20
_SHOWN: Final = 3


@dataclass
class Replay:
    """Result of a replay.

    Attributes:
        before: rejected rows of each file by rule, as counted when they were quarantined.
        after: rejected rows under the present rules and with the repaired movies; without
            duplicate ratings, because the latest one is kept either way.
        repaired: number of repaired rows by file.
        rows: number of rows of the new dataset by file.
        md5: md5 of the new dataset; None if none was written.
    """

    before: dict[str, dict[Rule, int]]
    after: dict[str, dict[Rule, int]] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    md5: str | None = None

    def now_valid(self, file: str) -> dict[Rule, int]:
        """Counts rows that were rejected and are valid now, by the rule that rejected them."""
        after = self.after[file]
        return {
            rule: count - after.get(rule, 0)
            for rule, count in self.before.get(file, {}).items()
            if rule not in TOLERATED_RULES and count > after.get(rule, 0)
        }


def replay_quarantine(
    archive: DatasetArchive,
    before: dict[str, FileStats],
    *,
    repaired_ratings: Path | None = None,
    repaired_movies: Path | None = None,
    out: Path | None = None,
    scale: RatingScale = STARS,
    id_bits: IdBits = NARROW,
) -> Replay:
    """Validates a dataset's rows again, under the present rules and with repaired rows added.

    Args:
        archive: the dataset whose rows were quarantined.
        before: statistics of its files at that time.
        repaired_ratings: a CSV with the header of ratings.csv: rows to add. They replace ratings
            of the same user, movie and timestamp.
        repaired_movies: a CSV with the header of movies.csv: movies to add or replace, by id.
        out: path of the new dataset's zip; its md5 is written next to it. None: only count.
        scale: of the ratings.
        id_bits: width of the ids.

    Raises:
        DatasetError: a repaired row is invalid, or a file has no valid row.
    """
    result = Replay({file: dict(stats.quarantine) for file, stats in before.items()})
    movies = read_movies(archive.chunks(MOVIES_CSV), archive.columns.of_items, id_bits)
    table = movies.rows
    if repaired_movies is not None:
        repaired = read_movies(_chunks(repaired_movies), id_bits=id_bits)
        _check_repaired(repaired_movies, repaired.rejected)
        table = pl.concat([table, repaired.rows]).unique("movieId", keep="last").sort("movieId")
        result.repaired[MOVIES_CSV] = repaired.rows.height
    if not table.height:
        raise no_valid_rows_error(Examples(MOVIES_CSV))
    result.after[MOVIES_CSV] = dict(movies.rejected.counts)
    result.rows[MOVIES_CSV] = table.height
    counts: Counter[Rule] = Counter()

    def ratings() -> Iterator[pl.DataFrame]:
        given, chunks = archive.columns.of_ratings, archive.chunks(RATINGS_CSV)
        for batch in read_ratings(chunks, table["movieId"], given=given, scale=scale):
            counts.update(batch.rejected.counts)
            yield batch.rows.sort("line")
        if repaired_ratings is None:
            return
        for batch in read_ratings(_chunks(repaired_ratings), table["movieId"], scale=scale):
            _check_repaired(repaired_ratings, batch.rejected)
            result.repaired[RATINGS_CSV] = result.repaired.get(RATINGS_CSV, 0) + batch.rows.height
            yield batch.rows.sort("line")

    def counted_ratings() -> Iterator[pl.DataFrame]:
        result.rows[RATINGS_CSV] = 0
        for rows in ratings():
            result.rows[RATINGS_CSV] += rows.height
            yield rows

    if out is None:
        deque(counted_ratings(), maxlen=0)
    else:
        result.md5 = write_dataset(out, _movies_csv(table), _ratings_csv(counted_ratings()))
    result.after[RATINGS_CSV] = dict(counts)
    return result


def _check_repaired(path: Path, rejected: Rejected) -> None:
    """Fails if there are rejected rows."""
    if rejected.rows:
        shown = "; ".join(
            f"line {number} {line[:40].decode('utf-8', 'backslashreplace')!r} ({rule})"
            for rule, _, number, line in rejected.rows[:_SHOWN]
        )
        raise DatasetError(
            f"{rejected.counts.total()} repaired rows of {path.name} are invalid",
            found=shown,
            expected="rows that violate no rule, ratings only of movies in movies.csv",
            hint="repair these rows, or leave them out",
        )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _ratings_csv(ratings: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    """Yields ratings.csv in parts.

    Raises:
        DatasetError: there is no row.
    """
    yield (",".join(RATING_COLUMNS) + "\n").encode()
    is_empty = True
    for rows in ratings:
        text = rows.select(RATING_COLUMNS).write_csv(include_header=False, float_precision=1)
        yield text.encode()
        is_empty = is_empty and rows.is_empty()
    if is_empty:
        raise no_valid_rows_error(Examples(RATINGS_CSV))


def _movies_csv(movies: pl.DataFrame) -> bytes:
    genres = pl.col("genres").list.join("|")
    rows = movies.select(
        "movieId", "title", genres=pl.when(genres == "").then(pl.lit(NO_GENRES)).otherwise(genres)
    )
    return rows.select(MOVIE_COLUMNS).write_csv().encode()
