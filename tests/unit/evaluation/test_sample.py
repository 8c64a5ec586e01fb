"""Rankings of a large holdout are measured on a sample of its users."""

from __future__ import annotations

import math
from typing import Literal
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import EvaluationError
from recsys.evaluation import (
    EvaluatedRelease,
    evaluate,
    evaluate_models,
    part,
    ranked_sample,
    sample,
    tables,
)
from recsys.features.split import Cuts, split_rows
from tests.ratings_maker import interactions
from tests.unit.evaluation.test_models import MOVIES, predict, towers_of

ids = st.lists(st.integers(1, 2**31 - 1), unique=True, max_size=200)


@given(ids, st.integers(1, 250), st.randoms())
def test_the_sample_is_of_the_ids_alone(users: list[int], most: int, random: object) -> None:
    chosen = ranked_sample(np.array(users, np.int32), most)
    assert chosen.tolist() == sorted(set(chosen.tolist()) & set(users))
    assert len(chosen) == min(most, len(users))
    assert ranked_sample(np.array(users[::-1], np.int64), most).tolist() == chosen.tolist()


@given(ids, ids, st.integers(1, 50))
def test_a_user_leaves_the_sample_only_for_a_new_one(
    users: list[int], others: list[int], most: int
) -> None:
    before = set(ranked_sample(np.array(users, np.int64), most).tolist())
    more = np.array(sorted({*users, *others}), np.int64)
    after = set(ranked_sample(more, most).tolist())
    assert after & set(users) <= before


def test_users_with_few_ratings_are_not_preferred() -> None:
    """Those who were chosen for the holdout by the hash of `recsys.features.split`."""
    users = np.arange(1, 100_001)
    held = users * 2_654_435_761 % 2**32 < 0.1 * 2**32
    chosen = np.isin(users, ranked_sample(users, 20_000))
    expected = 0.2 * held.sum()
    assert abs(int((chosen & held).sum()) - expected) < 5 * math.sqrt(expected)


def test_a_sample_is_ranked_and_all_pairs_are_predicted() -> None:
    split = split_rows(interactions(5), Cuts(0.2, 230 * 86_400))
    train, holdout = part(split, "train"), part(split, "holdout")
    earlier = EvaluatedRelease(
        "0123abcd-0123abcd", predict, towers_of(train), train.select("userId", "movieId")[::2]
    )
    whole = evaluate_models(split, MOVIES, predict, towers_of(train), earlier)
    most = holdout["userId"].n_unique() // 2
    with mock.patch.object(sample.ranked_sample, "__defaults__", (most,)):
        sampled = evaluate_models(split, MOVIES, predict, towers_of(train), earlier)
    users = ranked_sample(holdout["userId"].unique().to_numpy(), most)
    is_ranked = pl.col("userId").is_in(users.tolist())

    assert sampled.predictions.equals(whole.predictions)
    assert sampled.recommendations.equals(whole.recommendations.filter(is_ranked))
    assert sampled.metrics.model.rmse == whole.metrics.model.rmse
    for found in (sampled.metrics, sampled.metrics.time_holdout):
        assert found is not None
        assert found.champion is not None
        assert 0 < (found.champion.ranked_users or 0) <= (found.holdout.ranked_users or 0) <= most
    assert sampled.metrics.holdout.ranked_users == most
    assert (sampled.metrics.holdout.users or 0) > most


def test_a_list_is_needed_of_the_sample_only() -> None:
    split = split_rows(interactions(5), Cuts(0.2, None))
    train, holdout = part(split, "train"), part(split, "holdout")
    most = holdout["userId"].n_unique() // 2
    found = evaluate_models(split, MOVIES, predict, towers_of(train))
    users = ranked_sample(holdout["userId"].unique().to_numpy(), most).tolist()

    def measured(lists: pl.DataFrame) -> float | None:
        with mock.patch.object(sample.ranked_sample, "__defaults__", (most,)):
            return evaluate(
                train=train,
                holdout=holdout,
                predictions=found.predictions,
                recommendations=lists,
                movie_ids=MOVIES["movieId"],
            ).model.values()["ndcg@10"]

    of_sample = found.recommendations.filter(pl.col("userId").is_in(users))
    assert measured(of_sample) == measured(found.recommendations)
    with pytest.raises(EvaluationError, match="too few recommendations"):
        measured(of_sample.filter(pl.col("userId") != users[0]))


@given(st.integers(1, 50))
def test_pairs_are_compared_in_ranges_of_users_as_they_are_at_once(rows: int) -> None:
    split = split_rows(interactions(5), Cuts(0.2, None))
    train, holdout = part(split, "train"), part(split, "holdout")
    known = pl.concat([train, holdout[::3]]).select("userId", "movieId")
    release = EvaluatedRelease("0123abcd-0123abcd", predict, towers_of(train), known)
    ranked = holdout["userId"].unique().sort().to_numpy()
    whole = release.answers(train, holdout, MOVIES, ranked)
    with mock.patch.object(tables, "_ROWS_AT_ONCE", rows):
        in_ranges = release.answers(train, holdout, MOVIES, ranked)
    assert whole is not None
    assert in_ranges is not None
    assert in_ranges.predictions.equals(whole.predictions)
    assert in_ranges.recommendations.equals(whole.recommendations)
    expected = holdout.join(known, on=["userId", "movieId"], how="anti")
    assert whole.predictions.height == expected.height


@pytest.mark.parametrize("rows", [1, 50, 10_000])
@pytest.mark.parametrize("how", ["semi", "anti"])
def test_a_join_in_ranges_is_the_join_of_all(rows: int, how: Literal["semi", "anti"]) -> None:
    pairs = interactions(5).select("userId", "movieId")
    # Users before, between and after those of the left table, and movies of others.
    others = pl.concat([pairs[::3], pairs.select(pl.col("userId") + 7, "movieId")])
    left = pairs.filter(pl.col("userId") % 4 > 0)
    with mock.patch.object(tables, "_ROWS_AT_ONCE", rows):
        found = tables.join_in_ranges(left, others, how)
    expected = left.join(others, on=["userId", "movieId"], how=how)
    assert found.sort("userId", "movieId").equals(expected.sort("userId", "movieId"))
    assert 0 < found.height < left.height


@given(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=50), st.integers(1, 400))
def test_each_row_is_in_one_range_of_users(users: list[int], rows: int) -> None:
    frame = pl.DataFrame({"userId": users}, schema={"userId": pl.Int64})
    with mock.patch.object(tables, "_ROWS_AT_ONCE", rows):
        ranges = list(tables.user_ranges(frame["userId"], 100))
    found = pl.concat(frame.filter(is_in_range) for is_in_range in ranges)
    assert found["userId"].sort().equals(frame["userId"].sort())
    least = min(rows * len(set(users)) // 100, len(set(users)))
    assert all(frame.filter(one)["userId"].n_unique() >= least for one in ranges[:-1])
