"""Holdouts beside each user's newest ratings: all ratings from one moment on, and the last visit.

Both are measured by the same code, `recsys.evaluation.measurement`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from recsys.evaluation.champion import ChampionAnswers
from recsys.evaluation.tables import PAIR, Mask

VISIT_GAP_S: Final = 86_400
"""Ratings at least so many seconds apart are of two visits."""
MIN_EARLIER: Final = 10
"""Users with fewer training rows have no last visit: too little is known for the next one."""


@dataclass(frozen=True)
class TimeHoldout:
    """A candidate's answers for all ratings from one moment on.

    Attributes:
        rows: userId, movieId, rating (stars), timestamp (s): see `time_holdout_rows`.
        predictions: userId, movieId, prediction (stars) for exactly these pairs.
        recommendations: userId, rank, movieId, score, for the users with a training row: only they
            are ranked.
        champion: the champion's answers for these pairs; None without a champion.
    """

    rows: pl.DataFrame
    predictions: pl.DataFrame
    recommendations: pl.DataFrame
    champion: ChampionAnswers | None = None


def time_holdout_rows(interactions: pl.DataFrame) -> pl.DataFrame:
    """Returns the interactions from the first row marked ``later`` on, without the column split.

    No row marked ``train`` is among them, because the split's moment is not later than this row.
    Without such a row the result is empty.
    """
    split = pl.col("split").cast(pl.String)
    first = interactions.select(pl.col("timestamp").filter(split == "later").min()).item()
    return interactions.filter(
        pl.lit(first is not None) & (split != "train") & (pl.col("timestamp") >= (first or 0))
    ).drop("split")


def ranked_users(rows: pl.DataFrame, train: pl.DataFrame) -> np.ndarray:
    """Returns the sorted ids of the users of ``rows`` that have a row in ``train``."""
    users = rows.select("userId").unique().join(train, on="userId", how="semi")
    return users["userId"].sort().to_numpy()


def last_visit(holdout: pl.DataFrame, train: pl.DataFrame) -> Mask | None:
    """Selects the holdout's rows of another visit than the user's last training row.

    A row is of another visit if a day or more without a rating of its user is between the two.
    Users with fewer than ten training rows are left out.

    Args:
        holdout: userId, movieId, timestamp (s).
        train: userId, timestamp (s).

    Returns:
        A mask of the rows; None without timestamps.
    """
    if not all({"timestamp"} <= set(frame.columns) for frame in (holdout, train)):
        return None
    known = train.group_by("userId").agg(
        last=pl.col("timestamp").max().cast(pl.Int64), earlier=pl.len()
    )
    rows = (
        holdout.select(*PAIR, pl.col("timestamp").cast(pl.Int64))
        .with_row_index("row")
        .join(known, on="userId", how="left")
        .sort("userId", "timestamp", "movieId")
        .with_columns(before=pl.col("timestamp").shift(1).over("userId"))
        .with_columns(gap=pl.col("timestamp") - pl.coalesce("before", "last"))
        .with_columns(is_other=(pl.col("gap") >= VISIT_GAP_S).cum_max().over("userId"))
        .sort("row")
    )
    chosen = rows["is_other"] & (rows["earlier"] >= MIN_EARLIER)
    mask: Mask = chosen.fill_null(False).to_numpy()
    return mask
