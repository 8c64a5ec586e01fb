"""Whether a model can be fitted to the interactions, as the trainer decides it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from recsys.errors import DatasetError

_PARTS: Final = ("train", "holdout")
_VARIED: Final = ("userId", "movieId", "rating")


def check_trainable(interactions: Path) -> None:
    """Fails if the trainer would refuse the interactions; it makes the same checks again.

    Args:
        interactions: ``interactions.parquet``.

    Raises:
        DatasetError: a part of the split is empty, or all of the training part is of one user, of
            one movie, or of one number of stars.
    """
    rows = pl.scan_parquet(interactions)
    in_train = pl.col("split").cast(pl.String) == "train"
    counts = rows.group_by(pl.col("split").cast(pl.String)).len().collect()
    of_part = dict(counts.iter_rows())
    for part in _PARTS:
        if not of_part.get(part):
            raise DatasetError(
                f"no interaction is in the {part} part of the split",
                found=f"{sum(of_part.values())} interactions",
                expected="at least one; the last tenth of each user's ratings, cut between "
                "two timestamps, is the holdout, so some user needs ratings of two times "
                "(in a dataset of a single day, two ratings)",
                hint="use a larger dataset: a model can be neither trained nor evaluated on this",
            )
    for column in _VARIED:
        # One column at a time: its distinct values take less memory than the rows.
        values = rows.filter(in_train).select(pl.col(column).unique()).collect(engine="streaming")
        if values.height < 2:
            raise DatasetError(
                f"the training part has a single {column}: a model cannot be fitted to it",
                found=values[column].to_list(),
                expected="at least two values",
                hint="check that the dataset is complete",
            )
