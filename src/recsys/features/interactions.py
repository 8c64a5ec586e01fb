"""Valid ratings in any order become the interactions: each pair once, sorted, split.

Rows wait on disk and come back in ranges of users, so memory is bounded by the range, not by the
dataset. A file that is sorted by user, as MovieLens files are, is read back once in order; any
other order gives the same table and reads more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from recsys.dataset import RATINGS_CSV
from recsys.errors import DatasetError

RANGE_ROWS: Final = 2_000_000
ROW_GROUP_ROWS: Final = 262_144
"""A row group is the least that a reader of some users reads: 1 MB, 1,600 users of MovieLens."""
MAX_USER_ROWS: Final = 8_000_000

SPLIT: Final = pl.Enum(["train", "holdout"])
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
    """Valid ratings on disk, waiting to be sorted.

    Args:
        folder: an empty folder for them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        self.rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Takes rows of ``validation.RATING_SCHEMA``."""
        if rows.height:
            rows.write_parquet(self._folder / f"{self._files:06}.parquet", compression="lz4")
            self._files += 1
            self.rows += rows.height

    def by_users(self, range_rows: int = RANGE_ROWS) -> Iterator[pl.DataFrame]:
        """The rows in ranges of users, ascending, of about ``range_rows`` rows each.

        Raises:
            DatasetError: a user has more than `MAX_USER_ROWS`, which are held in memory together.
        """
        waiting = pl.scan_parquet(self._folder / "*.parquet")
        for first, last in user_ranges(waiting.group_by("userId").len(), range_rows):
            yield waiting.filter(pl.col("userId").is_between(first, last)).collect()


def user_ranges(counts: pl.LazyFrame, range_rows: int = RANGE_ROWS) -> list[tuple[int, int]]:
    """First and last userId of ranges of about ``range_rows`` rows each, ascending.

    Args:
        counts: userId and len, the rows of each user.
        range_rows: rows wanted in a range.

    Raises:
        DatasetError: a user has more than `MAX_USER_ROWS`, which are held in memory together.
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
            hint="a user rates a movie once: look for an id that stands for many people",
        )


def resolve_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keeps one row per user and movie: the last by timestamp, then by line.

    Args:
        rows: ``validation.RATING_SCHEMA``, any order.

    Returns:
        The rows that win, and those that lose.
    """
    pair = pl.col("userId").cast(pl.Int64) * 2**32 + pl.col("movieId")
    if rows.select((pair.diff() > 0).all()).item():
        return rows, rows.clear()
    rows = rows.sort("userId", "movieId", "timestamp", "line")
    wins = rows.select((pair != pair.shift(-1)).fill_null(True)).to_series()
    return rows.filter(wins), rows.filter(~wins)


def split_holdout(rows: pl.DataFrame, holdout_share: float) -> pl.DataFrame:
    """Sorts by (userId, timestamp, movieId) and marks each user's last rows as holdout.

    The order is total, because a user has a movie once: of rows with the same timestamp the
    greater movie ids count as later. So no row of the holdout is before a training row of its
    user, and the split does not depend on the order in which rows came.

    Of n rows the last ``floor(n * holdout_share + 0.5)`` are holdout, but never all n: a user
    with a single row has it in training.

    Args:
        rows: columns userId, movieId and timestamp, and any others; each user and movie once, all
            rows of each user.
        holdout_share: between 0 and 1.

    Returns:
        The rows, sorted, with the column ``split``.
    """
    rows = rows.sort("userId", "timestamp", "movieId")
    # The rows are sorted: runs are users, and cheaper than windows over them (3 s at 32 million).
    _, counts = np.unique_counts(rows["userId"].rle_id().to_numpy())
    held = np.minimum(np.floor(counts * holdout_share + 0.5).astype(np.int64), counts - 1)
    is_held = np.repeat(
        np.tile([False, True], len(counts)), np.column_stack([counts - held, held]).ravel()
    )
    return rows.with_columns(
        split=pl.when(pl.Series(is_held, dtype=pl.Boolean))
        .then(pl.lit("holdout", SPLIT))
        .otherwise(pl.lit("train", SPLIT))
    )


def write_interactions(
    waiting: RowSpool,
    path: Path,
    holdout_share: float,
    *,
    on_rows: Callable[[pl.DataFrame], None],
    on_duplicates: Callable[[pl.DataFrame], None],
) -> None:
    """Writes the interactions as parquet; the same rows give the same bytes in any order.

    Args:
        waiting: all valid rows.
        path: the file to make.
        holdout_share: see `split_holdout`.
        on_rows: told each part of the table as it is written.
        on_duplicates: told the rows that lost (``validation.RATING_SCHEMA``).
    """

    def parts() -> Iterator[pl.DataFrame]:
        for rows in waiting.by_users():
            table, lost = make_part(rows, holdout_share)
            if lost.height:
                on_duplicates(lost)
            on_rows(table)
            yield table

    sink_parts(parts, path)


def make_part(rows: pl.DataFrame, holdout_share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The interactions of some users, and the rows that lost against a later one.

    Args:
        rows: ``validation.RATING_SCHEMA``, all rows of each user, any order.
        holdout_share: see `split_holdout`.
    """
    kept, lost = resolve_duplicates(rows)
    return split_holdout(kept, holdout_share).select(INTERACTION_SCHEMA.names()), lost


def sink_parts(parts: Callable[[], Iterator[pl.DataFrame]], path: Path) -> None:
    """Writes parts of the interactions, in their order, as one parquet in bounded memory.

    Args:
        parts: begins to yield them; the same parts give the same bytes.
        path: the file to make.
    """

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        return parts()

    register_io_source(source, schema=INTERACTION_SCHEMA).sink_parquet(
        path, row_group_size=ROW_GROUP_ROWS
    )
