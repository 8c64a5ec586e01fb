"""Splits of a dataset into training part and holdout, for comparing models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import NARROW, STARS, WIDE, IdBits, RatingScale
from recsys.dataset import MOVIES_CSV, RATINGS_CSV, DatasetArchive
from recsys.errors import DatasetError
from recsys.evaluation import MIN_EARLIER, VISIT_GAP_S, id_type
from recsys.experiments.names import SplitName
from recsys.features import (
    INTERACTION_SCHEMA,
    SPLIT,
    read_movies,
    read_ratings,
    resolve_duplicates,
    with_ids,
)

RANDOM_STATE: Final = 50
FOLDS: Final = 5

Mask = NDArray[np.bool_]


def read_in_file_order(
    archive: DatasetArchive, scale: RatingScale = STARS, id_bits: IdBits = NARROW
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the valid ratings of a dataset in the order of its file, and its movies.

    If a user rated a movie twice, the later rating is kept, at its own position.

    Args:
        archive: the dataset.
        scale: of its ratings.
        id_bits: width of its ids.

    Returns:
        userId, movieId, rating, timestamp; and movies as in ``movies.parquet``.

    Raises:
        DatasetError: the archive is damaged or has no valid row.
    """
    movies = read_movies(archive.chunks(MOVIES_CSV), archive.columns.of_items, id_bits).rows
    ratings = read_ratings(
        archive.chunks(RATINGS_CSV),
        movies["movieId"],
        given=archive.columns.of_ratings,
        scale=scale,
    )
    parts = [batch.rows for batch in ratings]
    if not any(part.height for part in parts):
        raise DatasetError("the dataset has no valid rating", expected="at least one")
    rows, _ = resolve_duplicates(pl.concat(parts).sort("line"))
    return rows.sort("line").drop("line"), movies


def holdout_masks(name: SplitName, rows: pl.DataFrame) -> Iterator[Mask]:
    """Yields the rows of the holdout, once for each fold.

    - ``random-10``: scikit-learn's ``train_test_split(test_size=0.1, random_state=50)``.
    - ``temporal-10``, ``temporal-20``: the last ceil(n / 10) or ceil(n / 5) of a user's n ratings.
    - ``leave-last-out``: each user's last rating.
    - ``last-visit``: each user's ratings after the last gap of a day or more, if there are at least
      ten earlier ones.
    - ``cv5``: scikit-learn's ``KFold(5, shuffle=True, random_state=50)``.

    In splits by time, ties are broken by movieId, and a user's only rating is never held out.

    Args:
        name: the split.
        rows: userId, movieId, timestamp, in the order of the file.

    Raises:
        DatasetError: there are too few rows, or no user has a last visit.
    """
    if rows.height < 2 * FOLDS:
        raise DatasetError(
            "too few ratings to split", found=rows.height, expected=f"at least {2 * FOLDS}"
        )
    match name:
        case SplitName.RANDOM_10:
            yield _random_tenth(rows.height)
        case SplitName.TEMPORAL_10:
            yield _last(rows, (pl.len() / 10).ceil())
        case SplitName.TEMPORAL_20:
            yield _last(rows, (pl.len() / 5).ceil())
        case SplitName.LEAVE_LAST_OUT:
            yield _last(rows, pl.lit(1.0))
        case SplitName.LAST_VISIT:
            mask = _last_visit(rows)
            if not mask.any():
                raise DatasetError(
                    "no user has a last visit to hold out",
                    found=f"{rows['userId'].n_unique()} users",
                    expected=f"a user with at least {MIN_EARLIER} ratings, then a day without one, "
                    "then more ratings",
                )
            yield mask
        case SplitName.CV5:
            yield from _folds(rows.height)


def mark_holdout(rows: pl.DataFrame, holdout: Mask) -> pl.DataFrame:
    """Returns the rows as in ``interactions.parquet``, with the rows of ``holdout`` marked."""
    split = (
        pl.when(pl.Series(holdout)).then(pl.lit("holdout", SPLIT)).otherwise(pl.lit("train", SPLIT))
    )
    return (
        rows.with_columns(split=split)
        .sort("userId", "timestamp", "movieId")
        .select(INTERACTION_SCHEMA.names())
        .cast(with_ids(INTERACTION_SCHEMA, NARROW if id_type(rows) == pl.Int32 else WIDE))
    )


# The two splits of scikit-learn are made without it: Keras imports scikit-learn where it is
# installed, which is a fifth of the time that a process of the trainer needs to start.


def _random_tenth(n: int) -> Mask:
    test = np.random.RandomState(RANDOM_STATE).permutation(n)[: math.ceil(n / 10)]
    return _mask(n, test)


def _folds(n: int) -> Iterator[Mask]:
    shuffled = np.arange(n)
    np.random.RandomState(RANDOM_STATE).shuffle(shuffled)
    for test in np.array_split(shuffled, FOLDS):
        yield _mask(n, test)


def _mask(n: int, indices: NDArray[np.int64]) -> Mask:
    mask = np.zeros(n, np.bool_)
    mask[indices] = True
    return mask


def _last_visit(rows: pl.DataFrame) -> Mask:
    """Selects the rows from each user's last gap on; later gaps would be later visits."""
    place = pl.int_range(pl.len()).over("userId")
    starts = pl.col("timestamp").diff().over("userId") >= VISIT_GAP_S
    mask = (
        rows.select("userId", "movieId", pl.col("timestamp").cast(pl.Int64))
        .with_row_index("row")
        .sort("userId", "timestamp", "movieId")
        .with_columns(place=place, start=pl.when(starts).then(place))
        .with_columns(first=pl.col("start").max().over("userId"))
        .select("row", held=(pl.col("first") >= MIN_EARLIER) & (pl.col("place") >= pl.col("first")))
        .sort("row")["held"]
        .fill_null(False)
    )
    return mask.to_numpy()


def _last(rows: pl.DataFrame, count: pl.Expr) -> Mask:
    from_end = pl.int_range(pl.len()).reverse()
    held = from_end < pl.min_horizontal(count.cast(pl.Int64), pl.len().cast(pl.Int64) - 1)
    mask = (
        rows.with_row_index("row")
        .sort("userId", "timestamp", "movieId")
        .select("row", held=held.over("userId"))
        .sort("row")["held"]
    )
    return mask.to_numpy()
