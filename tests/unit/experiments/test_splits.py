"""Splits of a dataset: what is held out, and that nothing is lost."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import KFold, train_test_split

from recsys.dataset import open_dataset
from recsys.errors import DatasetError
from recsys.experiments import SplitName, read_in_file_order
from recsys.experiments.splits import holdout_masks, mark_holdout


@pytest.fixture
def rows() -> pl.DataFrame:
    """Ratings of 12 users, 1 to 45 each, in an order of no meaning."""
    rng = np.random.default_rng(2)
    made = [(u, m, u * 1000 + t) for u in range(1, 13) for t, m in enumerate(range(4 * u - 3))]
    frame = pl.DataFrame(
        made,
        schema={"userId": pl.Int32, "movieId": pl.Int32, "timestamp": pl.Int64},
        orient="row",
    ).with_columns(rating=pl.lit(3.5, pl.Float32))
    return frame[rng.permutation(frame.height)]


@pytest.mark.parametrize("height", [10, 11, 14, 19, 20, 500])
def test_random_tenth_is_scikit_learns_over_the_rows_in_file_order(
    rows: pl.DataFrame, height: int
) -> None:
    rows = rows.head(height)
    (mask,) = holdout_masks(SplitName.RANDOM_10, rows)

    _, expected = train_test_split(rows, test_size=0.1, random_state=50)
    assert (
        rows.filter(pl.Series(mask))
        .sort("userId", "movieId")
        .equals(expected.sort("userId", "movieId"))
    )


@pytest.mark.parametrize("height", [10, 11, 14, 19, 20, 500])
def test_five_folds_are_scikit_learns_and_hold_out_each_row_once(
    rows: pl.DataFrame, height: int
) -> None:
    rows = rows.head(height)
    masks = list(holdout_masks(SplitName.CV5, rows))

    expected = KFold(5, shuffle=True, random_state=50).split(np.arange(rows.height))
    for mask, (_, test) in zip(masks, expected, strict=True):
        assert np.flatnonzero(mask).tolist() == test.tolist()
    assert np.sum(masks, axis=0).tolist() == [1] * rows.height


@pytest.mark.parametrize(
    ("name", "count"),
    [
        (SplitName.TEMPORAL_10, lambda n: -(-n // 10)),
        (SplitName.TEMPORAL_20, lambda n: -(-n // 5)),
        (SplitName.LEAVE_LAST_OUT, lambda n: 1),
    ],
)
def test_splits_by_time_hold_out_each_users_last_rows_and_never_all(
    rows: pl.DataFrame, name: SplitName, count: object
) -> None:
    assert callable(count)
    (mask,) = holdout_masks(name, rows)

    split = rows.with_columns(held=pl.Series(mask))
    for (_,), own in split.group_by("userId"):
        expected = min(count(own.height), own.height - 1)
        assert own["held"].sum() == expected
        assert own.sort("timestamp")["held"].to_list()[own.height - expected :] == [True] * expected


def test_a_split_table_is_what_the_trainer_reads(rows: pl.DataFrame) -> None:
    (mask,) = holdout_masks(SplitName.TEMPORAL_10, rows)

    table = mark_holdout(rows, mask)

    assert table.columns == ["userId", "movieId", "rating", "timestamp", "split"]
    assert table.height == rows.height
    assert (table["split"] == "holdout").sum() == mask.sum()
    assert table.select("userId", "timestamp", "movieId").equals(
        table.select("userId", "timestamp", "movieId").sort("userId", "timestamp", "movieId")
    )


def test_too_few_ratings_are_refused(rows: pl.DataFrame) -> None:
    with pytest.raises(DatasetError, match="too few ratings"):
        next(holdout_masks(SplitName.CV5, rows.head(9)))


def write_zip(path: Path, ratings: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml/ratings.csv", "userId,movieId,rating,timestamp\n" + ratings)
        archive.writestr("ml/movies.csv", "movieId,title,genres\n1,One (1999),Drama\n2,Two,Drama\n")
    return path


def test_rows_are_read_in_file_order_and_the_later_duplicate_stands(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", "9,2,3.0,30\n1,1,4.0,10\n9,1,2.0,5\n1,1,5.0,11\n")
    with open_dataset(path) as archive:
        rows, movies = read_in_file_order(archive)

    assert rows.rows() == [(9, 2, 3.0, 30), (9, 1, 2.0, 5), (1, 1, 5.0, 11)]
    assert movies["movieId"].to_list() == [1, 2]


def test_the_real_dataset_keeps_its_file_order(ml_latest_small: Path) -> None:
    with open_dataset(ml_latest_small) as archive:
        rows, _ = read_in_file_order(archive)
    with zipfile.ZipFile(ml_latest_small) as archive:
        plain = pl.read_csv(io.BytesIO(archive.read("ml-latest-small/ratings.csv")))

    def digest(frame: pl.DataFrame) -> str:
        ids = frame.select("userId", "movieId", "timestamp").cast(pl.Int64)
        return hashlib.sha256(ids.to_numpy().tobytes()).hexdigest()

    assert digest(rows) == digest(plain)


DAY = 86_400


def visits_of(user: int, days: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        [(user, movie, 3.5, int(day * DAY)) for movie, day in enumerate(days, 1)],
        schema={
            "userId": pl.Int32,
            "movieId": pl.Int32,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
        },
        orient="row",
    )


def test_the_last_visit_is_what_follows_the_last_day_without_a_rating() -> None:
    rows = pl.concat(
        [
            visits_of(1, [0.0] * 10 + [1.0, 1.5, 3.0, 3.9]),  # two gaps: the last one counts
            visits_of(2, [0.0] * 9 + [5.0]),  # too few earlier ratings
            visits_of(3, [k / 10 for k in range(15)]),  # no gap
        ]
    )
    shuffled = rows.sample(fraction=1, shuffle=True, seed=4)
    (mask,) = holdout_masks(SplitName.LAST_VISIT, shuffled)
    held = shuffled.filter(pl.Series(mask)).sort("movieId")
    assert held.select("userId", "movieId").rows() == [(1, 13), (1, 14)]

    with pytest.raises(DatasetError, match="no user has a last visit"):
        next(holdout_masks(SplitName.LAST_VISIT, rows.filter(pl.col("userId") > 1)))


def test_only_random_splits_have_a_remark() -> None:
    remarks = {split: bool(split.remark) for split in SplitName}
    assert {split for split, has_one in remarks.items() if has_one} == {
        SplitName.RANDOM_10,
        SplitName.CV5,
    }
