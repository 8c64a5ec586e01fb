"""Validation refuses what training refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DatasetError
from recsys.features import check_trainable
from recsys.features.split import Cuts, split_rows
from trainer.data import check_tables

MOVIES = pl.DataFrame(
    {"movieId": range(20), "year": [2000] * 20, "genres": [["Drama"]] * 20},
    schema={"movieId": pl.Int32, "year": pl.Int16, "genres": pl.List(pl.String)},
)


def refused(check: Callable[[], object]) -> object:
    """What the check found; None if it refuses nothing."""
    try:
        check()
    except DatasetError as error:
        return error.found
    return None


@pytest.mark.parametrize(
    ("users", "movies", "stars", "is_refused"),
    [
        ([1] * 10, range(10), [1, 5] * 5, True),
        (range(1, 11), [1] * 10, [1, 5] * 5, True),
        (range(1, 11), range(10), [1, 5] * 5, True),
        ([1] * 5 + [2] * 5, [*range(5)] * 2, [4] * 10, True),
        ([1] * 5 + [2] * 5, [*range(5)] * 2, [4, 5] * 5, False),
        ([1] * 5 + [2], [*range(5), 1], [4, 5] * 3, False),
        # Of two users with four ratings each, by their ids one or none is in the holdout.
        ([1] * 4 + [2] * 4, [*range(4)] * 2, [4, 5] * 4, False),
        ([1] * 4 + [3] * 4, [*range(4)] * 2, [4, 5] * 4, True),
        # The one other rating is in the holdout.
        ([1] * 5 + [2], [1, 2, 3, 4, 5, 1], [4, 4, 4, 4, 5, 4], True),
    ],
)
def test_validation_refuses_what_training_refuses(
    tmp_path: Path,
    users: Sequence[int],
    movies: Sequence[int],
    stars: Sequence[int],
    is_refused: bool,
) -> None:
    rows = pl.DataFrame(
        {"userId": users, "movieId": movies, "rating": stars, "timestamp": range(len(users))},
        schema={
            "userId": pl.Int32,
            "movieId": pl.Int32,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
        },
    )
    rows = split_rows(rows, Cuts(0.1))
    path = tmp_path / "interactions.parquet"
    rows.write_parquet(path)
    of_trainer = refused(lambda: check_tables(rows, MOVIES))
    assert refused(lambda: check_trainable(path)) == of_trainer
    assert (of_trainer is not None) == is_refused
