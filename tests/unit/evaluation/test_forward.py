"""Realized metrics, checked against values worked out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import ForwardAnswers, compare_forward, measure_forward

MOVIES = np.arange(1, 31)
PAIRS = pl.DataFrame(
    {
        "userId": [1, 1, 2, 9],
        "movieId": [1, 2, 3, 4],
        "rating": [4.0, 2.0, 3.0, 5.0],
    },
    schema_overrides={"userId": pl.Int32, "movieId": pl.Int32},
)
STARS = PAIRS.select("userId", "movieId", prediction=pl.Series([3.0, 2.0, 3.0, 4.0]))


def lists(first_of_user_1: int = 1) -> pl.DataFrame:
    """Twenty movies for users 1 and 2; user 9 is new and has none."""
    others = [m for m in range(5, 30)][:19]
    return pl.DataFrame(
        {
            "userId": [1] * 20 + [2] * 20,
            "rank": [*range(1, 21)] * 2,
            "movieId": [first_of_user_1, *others, *others[:9], 3, *others[9:]],
        }
    )


def test_metrics_are_of_the_answered_pairs_and_users() -> None:
    found = measure_forward(PAIRS, MOVIES, ForwardAnswers(STARS, lists()))

    assert (found.rows, found.ranked_users) == (4, 2)
    assert found.metrics["rmse"].value == pytest.approx(np.sqrt(2 / 4))
    # User 1: movie 1 at rank 1, movie 2 not listed. User 2: movie 3 at rank 10.
    ideal = 1 + 1 / np.log2(3)
    assert found.metrics["ndcg@10"].value == pytest.approx((1 / ideal + 1 / np.log2(11)) / 2)
    assert found.metrics["recall@10"].value == pytest.approx((0.5 + 1) / 2)
    assert all(one.low <= one.value <= one.high for one in found.metrics.values())


def test_without_a_model_only_rankings_are_measured_and_without_users_only_stars() -> None:
    ranked = measure_forward(PAIRS, MOVIES, ForwardAnswers(None, lists()))
    rated = measure_forward(PAIRS, MOVIES, ForwardAnswers(STARS, lists().clear()))

    assert ranked.rows == 0
    assert set(ranked.metrics) == {"ndcg@10", "recall@10"}
    assert set(rated.metrics) == {"rmse"}
    assert rated.ranked_users == 0


def test_two_releases_are_compared_on_the_pairs_that_both_answer() -> None:
    first = ForwardAnswers(STARS.head(2), lists())
    second = ForwardAnswers(STARS.tail(3).with_columns(prediction=pl.lit(5.0)), lists(4))

    found = compare_forward(PAIRS, MOVIES, first, second)

    # Only user 1's movie 2 is rated by both: 0 stars of error against 3.
    assert found["rmse"] == (-3.0, -3.0)
    low, high = found["recall@10"]
    assert low <= 0.25 <= high
    assert compare_forward(PAIRS, MOVIES, first, ForwardAnswers(None, lists().clear())) == {}
