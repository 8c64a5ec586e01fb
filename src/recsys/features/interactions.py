"""Turns valid ratings into the interactions: deduplicated, sorted, split.

Rows are spooled to disk and read back in ranges of users, so memory is bounded by a range, not by
the dataset. A file sorted by user, as MovieLens files are, is read back once, sequentially. Any
other order gives the same table, but reads more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

from recsys.contract import FeatureSettings, IdBits
from recsys.dataset import RATINGS_CSV
from recsys.errors import DatasetError
from recsys.evaluation import pairs_ascend
from recsys.features.split import SPLIT, Cuts, find_moment, rows_by_day, split_rows
from recsys.features.validation import with_ids

RANGE_ROWS: Final = 2_000_000
ROW_GROUP_ROWS: Final = 262_144
"""A reader of a few users reads whole row groups: 1 MB each, 1,600 users of MovieLens."""
MAX_USER_ROWS: Final = 8_000_000

INTERACTION_SCHEMA: Final = pl.Schema(
    {
        "userId": pl.Int32(),
        "movieId": pl.Int32(),
        "rating": pl.Float32(),
        "timestamp": pl.Int64(),
        "split": SPLIT,
    }
)


class RowSpool:
    """Spools valid ratings to disk until they can be sorted.

    Args:
        folder: an empty folder for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        self.rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Appends rows of ``validation.RATING_SCHEMA``."""
        if rows.height:
            rows.write_parquet(self._folder / f"{self._files:06}.parquet", compression="lz4")
            self._files += 1
            self.rows += rows.height

    def by_users(self, range_rows: int = RANGE_ROWS) -> Iterator[pl.DataFrame]:
        """Yields the rows in ascending ranges of users, of about ``range_rows`` rows each.

        Raises:
            DatasetError: a user has more than `MAX_USER_ROWS` rows, too many for memory.
        """
        spooled = pl.scan_parquet(self._folder / "*.parquet")
        for first, last in user_ranges(spooled.group_by("userId").len(), range_rows):
            yield spooled.filter(pl.col("userId").is_between(first, last)).collect()

    def days(self) -> pl.DataFrame:
        """Returns the number of rows of each day; see `recsys.features.split.rows_by_day`."""
        spooled = pl.scan_parquet(self._folder / "*.parquet")
        return rows_by_day(spooled).collect(engine="streaming")


def user_ranges(counts: pl.LazyFrame, range_rows: int = RANGE_ROWS) -> list[tuple[int, int]]:
    """Returns the first and last userId of ascending ranges of about ``range_rows`` rows each.

    Args:
        counts: userId and len (number of rows of the user).
        range_rows: target number of rows of a range.

    Raises:
        DatasetError: a user has more than `MAX_USER_ROWS` rows, too many for memory.
    """
    ranges = (
        counts.sort("userId")
        .select("userId", "len", part=pl.col("len").cum_sum() // range_rows)
        .group_by("part", maintain_order=True)
        .agg(first=pl.col("userId").min(), last=pl.col("userId").max(), most=pl.col("len").max())
        .collect(engine="streaming")
    )
    _check_users(ranges)
    return list(ranges.sort("first").select("first", "last").iter_rows())


def _check_users(ranges: pl.DataFrame) -> None:
    most = ranges["most"].max()
    if isinstance(most, int) and most > MAX_USER_ROWS:
        raise DatasetError(
            f"one user has too many rows in {RATINGS_CSV}",
            found=most,
            expected=f"at most {MAX_USER_ROWS}",
            hint="a user rates a movie once: look for an id that is shared by many people",
        )


def resolve_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keeps one row per user and movie: the latest by timestamp, then by line.

    Args:
        rows: ``validation.RATING_SCHEMA``, in any order.

    Returns:
        The rows kept, and the rows that they replace.
    """
    if pairs_ascend(rows):
        return rows, rows.clear()
    rows = rows.sort("userId", "movieId", "timestamp", "line")
    differs = [pl.col(column) != pl.col(column).shift(-1) for column in ("userId", "movieId")]
    is_last = rows.select(pl.any_horizontal(differs).fill_null(True)).to_series()
    return rows.filter(is_last), rows.filter(~is_last)


def write_interactions(
    spool: RowSpool,
    path: Path,
    settings: FeatureSettings,
    *,
    on_rows: Callable[[pl.DataFrame], None],
    on_duplicates: Callable[[pl.DataFrame], None],
) -> Cuts:
    """Writes the interactions as parquet; the same rows in any order give the same bytes.

    Args:
        spool: all valid rows.
        path: the file to write.
        settings: shares of the two holdouts.
        on_rows: called with each part of the table as it is written.
        on_duplicates: called with replaced rows (``validation.RATING_SCHEMA``).

    Returns:
        Where the rows were cut.
    """
    cuts = cuts_of(spool.days(), settings)

    def parts() -> Iterator[pl.DataFrame]:
        for rows in spool.by_users():
            table, replaced = make_part(rows, cuts)
            if replaced.height:
                on_duplicates(replaced)
            on_rows(table)
            yield table

    sink_parts(parts, path, settings.id_bits)
    return cuts


def cuts_of(days: pl.DataFrame, settings: FeatureSettings) -> Cuts:
    """Returns where a dataset is cut, by its number of valid rows on each day."""
    moment = find_moment(days, settings.time_holdout_share)
    return Cuts(settings.holdout_share, moment, single_day=days.height <= 1)


def make_part(rows: pl.DataFrame, cuts: Cuts) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Makes the interactions of some users; also returns the rows replaced by later ones.

    Args:
        rows: ``validation.RATING_SCHEMA``, all rows of each user, in any order.
        cuts: see `recsys.features.split.split_rows`.
    """
    rows, replaced = resolve_duplicates(rows)
    return split_rows(rows, cuts).select(INTERACTION_SCHEMA.names()), replaced


def sink_parts(parts: Callable[[], Iterator[pl.DataFrame]], path: Path, id_bits: IdBits) -> None:
    """Writes parts of the interactions, in order, into one parquet, in bounded memory.

    Args:
        parts: returns an iterator over the parts; the same parts give the same bytes.
        path: the file to write.
        id_bits: width of the ids of the parts.
    """

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        return parts()

    register_io_source(source, schema=with_ids(INTERACTION_SCHEMA, id_bits)).sink_parquet(
        path, row_group_size=ROW_GROUP_ROWS
    )
