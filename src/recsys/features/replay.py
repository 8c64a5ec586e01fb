"""Quarantined rows after a fix: what comes in again, and the dataset that it makes.

Features never change for the same dataset and settings, so rows come back in a new dataset: the
valid rows of the old one and the mended rows, with an md5 of its own. It goes through the whole
pipeline like any other.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from recsys.dataset import (
    MOVIE_COLUMNS,
    MOVIES_CSV,
    NO_GENRES,
    RATING_COLUMNS,
    RATINGS_CSV,
    DatasetArchive,
)
from recsys.errors import DatasetError
from recsys.features.csv_reader import read_movies, read_ratings
from recsys.features.quarantine import FileStats, Rejected, no_valid_rows_error
from recsys.features.validation import Rule

_CHUNK: Final = 1 << 20
_SHOWN: Final = 3


@dataclass
class Replay:
    """What a replay found.

    Attributes:
        before: rejected rows of each file by rule, as the quarantine told it.
        after: the same under the present rules, with the mended movies known; duplicates among
            ratings are left out, because the last one stands either way.
        mended: mended rows by file.
        rows: rows of the new dataset by file.
        md5: of the new dataset; None if none was written.
    """

    before: dict[str, dict[Rule, int]]
    after: dict[str, dict[Rule, int]] = field(default_factory=dict)
    mended: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    md5: str | None = None

    def pass_now(self, file: str) -> dict[Rule, int]:
        """Rows by the rule that held them back and holds them back no more."""
        after = self.after[file]
        return {
            rule: count - after.get(rule, 0)
            for rule, count in self.before.get(file, {}).items()
            if rule != Rule.DUPLICATE and count > after.get(rule, 0)
        }


def replay_quarantine(
    archive: DatasetArchive,
    before: dict[str, FileStats],
    *,
    mended_ratings: Path | None = None,
    mended_movies: Path | None = None,
    out: Path | None = None,
) -> Replay:
    """Judges a dataset's rows again, under the present rules and with mended rows besides.

    Args:
        archive: the dataset whose rows were quarantined.
        before: its statistics from when they were.
        mended_ratings: a CSV with the header of ratings.csv: rows to add, each the last word on
            its user and movie where timestamps are equal.
        mended_movies: likewise for movies.csv; a movie here replaces one of the same id.
        out: the new dataset's zip, with its md5 beside it; None: only count.

    Raises:
        DatasetError: a mended row breaks a rule itself, or a file has no usable row.
    """
    found = Replay({file: dict(stats.quarantine) for file, stats in before.items()})
    movies = read_movies(archive.chunks(MOVIES_CSV))
    table = movies.rows
    if mended_movies is not None:
        mended = read_movies(_chunks(mended_movies))
        _refuse(mended_movies, mended.rejected)
        table = pl.concat([table, mended.rows]).unique("movieId", keep="last").sort("movieId")
        found.mended[MOVIES_CSV] = mended.rows.height
    if not table.height:
        raise no_valid_rows_error(MOVIES_CSV)
    found.after[MOVIES_CSV] = dict(movies.rejected.counts)
    found.rows[MOVIES_CSV] = table.height
    counts: Counter[Rule] = Counter()

    def ratings() -> Iterator[pl.DataFrame]:
        for batch in read_ratings(archive.chunks(RATINGS_CSV), table["movieId"]):
            counts.update(batch.rejected.counts)
            yield batch.rows.sort("line")
        if mended_ratings is None:
            return
        for batch in read_ratings(_chunks(mended_ratings), table["movieId"]):
            _refuse(mended_ratings, batch.rejected)
            found.mended[RATINGS_CSV] = found.mended.get(RATINGS_CSV, 0) + batch.rows.height
            yield batch.rows.sort("line")

    if out is None:
        found.rows[RATINGS_CSV] = sum(rows.height for rows in ratings())
    else:
        found.rows[RATINGS_CSV] = _write_dataset(out, table, ratings())
        found.md5 = _write_md5(out)
    found.after[RATINGS_CSV] = dict(counts)
    return found


def _refuse(path: Path, rejected: Rejected) -> None:
    if rejected.rows:
        shown = "; ".join(
            f"line {number} {line[:40].decode('utf-8', 'backslashreplace')!r} ({rule})"
            for rule, _, number, line in rejected.rows[:_SHOWN]
        )
        raise DatasetError(
            f"{rejected.counts.total()} rows of {path.name} break a rule themselves",
            found=shown,
            expected="mended rows that keep every rule, of movies that are known",
            hint="mend them, or leave them out",
        )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _write_dataset(out: Path, movies: pl.DataFrame, ratings: Iterator[pl.DataFrame]) -> int:
    """Writes a zip that appears whole or not at all; returns the rows of ratings.csv."""
    partial = out.with_name(out.name + ".partial")
    written = 0
    try:
        # Entries made by name have the date 1980-01-01: no clock gets into the bytes.
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            with archive.open(MOVIES_CSV, "w") as file:
                file.write(_movies_csv(movies))
            with archive.open(RATINGS_CSV, "w", force_zip64=True) as file:
                file.write((",".join(RATING_COLUMNS) + "\n").encode())
                for rows in ratings:
                    text = rows.select(RATING_COLUMNS).write_csv(
                        include_header=False, float_precision=1
                    )
                    file.write(text.encode())
                    written += rows.height
        if not written:
            raise no_valid_rows_error(RATINGS_CSV)
        partial.replace(out)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return written


def _movies_csv(movies: pl.DataFrame) -> bytes:
    genres = pl.col("genres").list.join("|")
    rows = movies.select(
        "movieId", "title", genres=pl.when(genres == "").then(pl.lit(NO_GENRES)).otherwise(genres)
    )
    return rows.select(MOVIE_COLUMNS).write_csv().encode()


def _write_md5(path: Path) -> str:
    """Writes the md5 beside the zip, last; returns it."""
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    path.with_name(path.name + ".md5").write_text(f"{md5}  {path.name}\n")
    return md5
