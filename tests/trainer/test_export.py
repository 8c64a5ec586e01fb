"""Histories in the artifacts: each user's movies, newest first."""

from __future__ import annotations

from unittest import mock

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import Towers, tables
from trainer.export import user_towers

ROWS = pl.DataFrame(
    {
        "userId": [1, 1, 1, 2, 3, 3],
        "movieId": [10, 20, 30, 10, 40, 20],
        "timestamp": [5, 7, 7, 1, 2, 9],
        "split": ["train", "train", "holdout", "train", "holdout", "train"],
    },
    schema_overrides={"userId": pl.Int32, "movieId": pl.Int32},
)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_histories_are_the_same_in_ranges_of_any_size(rows: int) -> None:
    users = np.array([1, 2, 3], np.int32)
    towers = Towers(users, users, np.ones((3, 64), np.float32), np.ones((3, 64), np.float32))
    with mock.patch.object(tables, "_ROWS_AT_ONCE", rows):
        of_all = user_towers(towers, ROWS)
        of_part = user_towers(towers, ROWS, pl.col("split") == "train")
    assert of_all["id"].to_list() == of_part["id"].to_list() == [1, 2, 3]
    assert of_all["seen"].to_list() == [[20, 30, 10], [10], [20, 40]]
    assert of_part["seen"].to_list() == [[20, 10], [10], [20]]
