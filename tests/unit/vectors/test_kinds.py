"""Kinds of ratings, and the rarity of movies within periods."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.vectors.kinds import (
    PERIOD_SECONDS,
    UNKNOWN_PERIOD,
    KindWeights,
    with_kinds,
)
from recsys.vectors.svd import FeedbackMatrix

law = hypothesis_settings(deadline=None)  # a loaded machine must not fail the test


def ratings(seed: int) -> pl.DataFrame:
    """Ratings of up to 20 users; some times are unknown."""
    rng = np.random.default_rng(seed)
    rated = np.argwhere(rng.random((rng.integers(1, 20), rng.integers(1, 15))) < 0.5)
    if not len(rated):
        rated = np.zeros((1, 2), int)
    times = rng.integers(-1, 4, len(rated)) * PERIOD_SECONDS + 5
    return pl.DataFrame(
        {
            "userId": rated[:, 0] + 3,
            "movieId": rated[:, 1] * 2 + 1,
            "rating": rng.integers(1, 11, len(rated)) / 2,
            "timestamp": [None if rng.random() < 0.1 else int(t) for t in times],
        },
        schema={
            "userId": pl.Int32,
            "movieId": pl.Int32,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
        },
    )


@pytest.mark.parametrize(
    ("timestamp", "period"),
    [
        (0, 0),
        (PERIOD_SECONDS - 1, 0),
        (PERIOD_SECONDS, 1),
        (4_102_444_800, UNKNOWN_PERIOD - 1),
        (2**62, UNKNOWN_PERIOD - 1),
        (-1, UNKNOWN_PERIOD),
        (None, UNKNOWN_PERIOD),
    ],
)
def test_the_kind_has_the_period(timestamp: int | None, period: int) -> None:
    row = {"userId": [1], "movieId": [1], "timestamp": [timestamp]}
    frame = pl.DataFrame(row, schema_overrides={"timestamp": pl.Int64})
    assert with_kinds(frame.lazy()).collect()["kind"].to_list() == [2 * period]


def test_the_kind_has_whether_the_rating_is_below_the_mean_of_its_user() -> None:
    frame = pl.DataFrame(
        {"userId": [1, 1, 1, 2], "movieId": [1, 2, 3, 1], "rating": [5.0, 3.0, 4.0, 0.5]}
    )
    made = with_kinds(frame.lazy()).collect().sort("userId", "movieId")
    assert (made["kind"] - 2 * UNKNOWN_PERIOD).to_list() == [0, 1, 0, 0]


@law
@given(st.integers(0, 2**32))
def test_weights_equal_a_plain_computation(seed: int) -> None:
    frame = ratings(seed)
    matrix = FeedbackMatrix.from_interactions(with_kinds(frame.lazy()))
    users = frame["userId"].n_unique()
    weights = KindWeights.from_counts(matrix.count_periods(), users)
    found = {}
    first = 0
    for block, kinds in zip(matrix.blocks, matrix.kinds, strict=True):
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)) + first
        values = weights.of(kinds, block.indices)
        keys = zip(row.tolist(), matrix.ids[block.indices].tolist(), strict=True)
        found |= dict(zip(keys, values.tolist(), strict=True))
        first += block.shape[0]

    row_of = {user: row for row, user in enumerate(sorted(frame["userId"].unique()))}
    means = dict(frame.group_by("userId").agg(pl.col("rating").mean()).iter_rows())
    plain = {}
    for user, movie, stars, at in frame.iter_rows():
        share = frame.filter(movieId=movie).height / users
        own = frame.clear()
        if at is not None and at >= 0:
            own = frame.filter(pl.col("timestamp") // PERIOD_SECONDS == at // PERIOD_SECONDS)
        n, active = own.filter(movieId=movie).height, own["userId"].n_unique()
        weight = np.log((active + 31) / (n + 30 * share))
        plain[row_of[user], movie] = weight * (1 if stars >= means[user] else 0.7)
    assert found == pytest.approx(plain, rel=1e-5)
    assert min(found.values()) > 0


@law
@given(st.integers(0, 2**32))
def test_counts_of_parts_add_up_to_those_of_all_users(seed: int) -> None:
    rows = with_kinds(ratings(seed).lazy()).collect()
    ids = rows["movieId"].unique().sort()
    whole = FeedbackMatrix.from_interactions(rows.lazy(), ids).count_periods()
    split = rows["userId"].median()
    parts = [
        FeedbackMatrix.from_interactions(part.lazy(), ids).count_periods()
        for part in (rows.filter(pl.col("userId") <= split), rows.filter(pl.col("userId") > split))
        if part.height
    ]
    total = parts[0] if len(parts) == 1 else parts[1] + parts[0]
    np.testing.assert_array_equal(total.periods, whole.periods)
    np.testing.assert_array_equal(total.users, whole.users)
    np.testing.assert_array_equal(total.ratings, whole.ratings)


def test_without_times_a_movie_that_more_users_rated_weighs_less() -> None:
    rows = [(user, movie) for movie in range(1, 8) for user in range(1, 9) if user >= movie]
    frame = pl.DataFrame(rows, schema={"userId": pl.Int32, "movieId": pl.Int32}, orient="row")
    matrix = FeedbackMatrix.from_interactions(with_kinds(frame.lazy()))
    weights = KindWeights.from_counts(matrix.count_periods(), 8)
    assert (np.diff(weights.table[0]) > 0).all()
    np.testing.assert_allclose(weights.table[0], np.log(31 / 30 * 8 / np.arange(8, 1, -1)), 1e-5)
