"""Valid ratings in any order become the interactions: each pair once, sorted, split.

Rows wait on disk and come back in ranges of users, so memory is bounded by the range, not by the
dataset. A file that is sorted by user, as MovieLens files are, is read back once in order; any
other order gives the same table and reads more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

RANGE_ROWS: Final = 2_000_000
ROW_GROUP_ROWS: Final = 262_144

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


class WaitingRows:
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
        """The rows in ranges of users, ascending, of about ``range_rows`` rows each."""
        waiting = pl.scan_parquet(self._folder / "*.parquet")
        ranges = (
            waiting.group_by("userId")
            .len()
            .sort("userId")
            .select("userId", part=pl.col("len").cum_sum() // range_rows)
            .group_by("part", maintain_order=True)
            .agg(first=pl.col("userId").min(), last=pl.col("userId").max())
            .collect(engine="streaming")
        )
        for first, last in ranges.sort("first").select("first", "last").iter_rows():
            yield waiting.filter(pl.col("userId").is_between(first, last)).collect()


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

    Of n rows the last ``floor(n * holdout_share + 0.5)`` are holdout, but never all n: a user
    with a single row has it in training.

    Args:
        rows: ``validation.RATING_SCHEMA``, each user and movie once, all rows of each user.
        holdout_share: between 0 and 1.

    Returns:
        ``INTERACTION_SCHEMA``.
    """
    count = pl.len().over("userId").cast(pl.Int64)
    held = pl.min_horizontal((count * holdout_share + 0.5).floor().cast(pl.Int64), count - 1)
    position = pl.int_range(pl.len()).over("userId")
    return (
        rows.sort("userId", "timestamp", "movieId")
        .with_columns(
            split=pl.when(position >= count - held)
            .then(pl.lit("holdout", SPLIT))
            .otherwise(pl.lit("train", SPLIT))
        )
        .select(INTERACTION_SCHEMA.names())
    )


def write_interactions(
    waiting: WaitingRows,
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

    def parts(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for rows in waiting.by_users():
            kept, lost = resolve_duplicates(rows)
            if lost.height:
                on_duplicates(lost)
            table = split_holdout(kept, holdout_share)
            on_rows(table)
            yield table

    register_io_source(parts, schema=INTERACTION_SCHEMA).sink_parquet(
        path, row_group_size=ROW_GROUP_ROWS
    )
