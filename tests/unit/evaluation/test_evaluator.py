"""Evaluation against a plain restatement of the definitions, user by user."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.errors import EvaluationError
from tests.examples import examples
from tests.metrics_maker import evaluate_to_document

Tables = dict[str, Any]
# One evaluation takes 20 ms, and each example is a random table of up to 320 pairs.
law = hypothesis_settings(deadline=None, max_examples=examples(40))
RESAMPLES = 20
"""Of the confidence intervals, which these tests do not look at."""


@st.composite
def tables(draw: st.DrawFn) -> Tables:
    """A small dataset, split, with predictions and a random list for every user of the holdout."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    movies = np.sort(rng.choice(500, size=draw(st.integers(3, 40)), replace=False))
    users = rng.choice(90, size=draw(st.integers(1, 8)), replace=False)
    rows = [(u, m) for u in users for m in movies if rng.random() < 0.4]
    rows += [(100, movies[0]), (101, movies[1])]
    held = rng.random(len(rows)) < 0.3
    held[-2:] = [False, True]
    frame = pl.DataFrame(
        {
            "userId": np.array([u for u, _ in rows], np.int32),
            "movieId": np.array([m for _, m in rows], np.int32),
            "rating": (rng.integers(1, 11, len(rows)) / 2).astype(np.float32),
            "timestamp": np.arange(len(rows)),
        }
    )
    train, holdout = frame.filter(~pl.Series(held)), frame.filter(pl.Series(held))
    lists = []
    for u in holdout["userId"].unique():
        seen = set(train.filter(userId=u)["movieId"])
        order = rng.permutation([m for m in movies if m not in seen])[:30]
        lists += [(u, i + 1, int(m), 1.0 / (i + 1)) for i, m in enumerate(order)]
    return {
        "train": train,
        "holdout": holdout,
        "predictions": holdout.with_columns(
            prediction=pl.Series(rng.uniform(0.5, 5, holdout.height))
        ).sample(fraction=1, shuffle=True, seed=1),
        "recommendations": pl.DataFrame(
            lists, schema=["userId", "rank", "movieId", "score"], orient="row"
        ).sample(fraction=1, shuffle=True, seed=2),
        "movie_ids": movies.tolist(),
    }


def restated_ranking(lists: dict[int, list[int]], holdout: pl.DataFrame) -> dict[str, float]:
    ndcg, recall10, recall20, mrr = [], [], [], []
    for user in holdout["userId"].unique().sort():
        relevant = set(holdout.filter(userId=user)["movieId"])
        hits = [movie in relevant for movie in lists.get(user, [])]
        dcg = sum(1 / math.log2(i + 2) for i, hit in enumerate(hits[:10]) if hit)
        ndcg.append(dcg / sum(1 / math.log2(i + 2) for i in range(min(10, len(relevant)))))
        recall10.append(sum(hits[:10]) / len(relevant))
        recall20.append(sum(hits[:20]) / len(relevant))
        mrr.append(1 / (hits[:100].index(True) + 1) if True in hits[:100] else 0.0)
    named = {"ndcg@10": ndcg, "recall@10": recall10, "recall@20": recall20, "mrr": mrr}
    return {name: sum(values) / len(values) for name, values in named.items()}


@law
@given(tables())
def test_ranking_metrics_are_their_definitions_restated_user_by_user(given: Tables) -> None:
    measured = evaluate_to_document(**given, resamples=RESAMPLES)

    lists = {
        user: frame.sort("rank")["movieId"].to_list()
        for (user,), frame in given["recommendations"].group_by("userId")
    }
    expected = restated_ranking(lists, given["holdout"])
    top = {movie for movies in lists.values() for movie in movies[:10]}
    expected["coverage"] = len(top) / len(given["movie_ids"])
    assert {k: measured["model"][k] for k in expected} == pytest.approx(expected)


@law
@given(tables())
def test_popularity_is_what_lists_of_the_most_rated_movies_would_give(given: Tables) -> None:
    measured = evaluate_to_document(**given, resamples=RESAMPLES)["baselines"]["popularity"]

    counts = dict(given["train"].group_by("movieId").len().iter_rows())
    by_count = sorted(given["movie_ids"], key=lambda m: (-counts.get(m, 0), m))
    lists = {
        user: [m for m in by_count if m not in set(given["train"].filter(userId=user)["movieId"])]
        for user in given["holdout"]["userId"].unique()
    }
    expected = restated_ranking(lists, given["holdout"])
    top = {movie for movies in lists.values() for movie in movies[:10]}
    expected["coverage"] = len(top) / len(given["movie_ids"])
    assert {k: measured[k] for k in expected} == pytest.approx(expected)


@law
@given(tables())
def test_rating_errors_are_their_definitions_restated_row_by_row(given: Tables) -> None:
    measured = evaluate_to_document(**given, resamples=RESAMPLES)

    train, holdout = given["train"], given["holdout"]
    mean = train["rating"].cast(pl.Float64).mean()
    per_movie = dict(
        train.group_by("movieId").agg(pl.col("rating").cast(pl.Float64).mean()).iter_rows()
    )
    joined = holdout.join(
        given["predictions"].select("userId", "movieId", "prediction"), on=["userId", "movieId"]
    )
    for name, guesses in {
        "model": joined["prediction"].to_list(),
        "global_mean": [mean] * joined.height,
        "movie_mean": [per_movie.get(m, mean) for m in joined["movieId"]],
    }.items():
        errors = [guess - truth for guess, truth in zip(guesses, joined["rating"], strict=True)]
        found = measured["model"] if name == "model" else measured["baselines"][name]
        assert found["rmse"] == pytest.approx(math.sqrt(sum(e * e for e in errors) / len(errors)))
        assert found["mae"] == pytest.approx(sum(abs(e) for e in errors) / len(errors))


@law
@given(tables())
def test_result_is_json_and_does_not_depend_on_the_order_of_rows(given: Tables) -> None:
    shuffled = {
        name: value.sample(fraction=1, shuffle=True, seed=5)
        if isinstance(value, pl.DataFrame)
        else value[::-1]
        for name, value in given.items()
    }

    first, second = (
        json.loads(json.dumps(evaluate_to_document(**tables, resamples=RESAMPLES), allow_nan=False))
        for tables in (given, shuffled)
    )

    assert first["holdout"] == second["holdout"]
    assert first["model"] == pytest.approx(second["model"])
    for name, metrics in first["baselines"].items():
        assert second["baselines"][name] == pytest.approx(metrics)


def test_bias_baseline_recovers_users_and_movies_that_only_differ_by_an_offset() -> None:
    rng = np.random.default_rng(3)
    user_offset, movie_offset = rng.normal(0, 0.5, 300), rng.normal(0, 0.4, 200)
    user, movie = (a.ravel() for a in np.indices((300, 200)))
    rating = np.clip(3 + user_offset[user] + movie_offset[movie], 0.5, 5)
    frame = pl.DataFrame({"userId": user, "movieId": movie, "rating": rating})
    held = pl.Series(rng.random(frame.height) < 0.1)
    holdout = frame.filter(held)
    recommendations = holdout.with_columns(
        rank=pl.int_range(1, pl.len() + 1).over("userId"), score=pl.lit(0.0)
    )

    # Lists as short as a user's holdout are whole here: every other movie was rated.
    measured = evaluate_to_document(
        train=frame.filter(~held),
        holdout=holdout,
        predictions=holdout.with_columns(prediction="rating"),
        recommendations=recommendations,
        movie_ids=list(range(200)),
    )

    assert measured["model"]["rmse"] == 0
    assert measured["model"]["ndcg@10"] == pytest.approx(1)
    baselines = measured["baselines"]
    assert baselines["bias"]["rmse"] < 0.06
    assert baselines["movie_mean"]["rmse"] > 0.4


def small() -> Tables:
    train = pl.DataFrame({"userId": [1, 1, 2], "movieId": [10, 20, 10], "rating": [4.0, 3.0, 5.0]})
    holdout = pl.DataFrame({"userId": [1, 2], "movieId": [30, 20], "rating": [2.0, 4.5]})
    return {
        "train": train,
        "holdout": holdout,
        "predictions": holdout.with_columns(prediction=pl.lit(3.5)),
        "recommendations": pl.DataFrame(
            {
                "userId": [1, 1, 2, 2, 2],
                "rank": [1, 2, 1, 2, 3],
                "movieId": [30, 40, 30, 20, 40],
                "score": [2.0, 1.0, 3.0, 2.0, 1.0],
            }
        ),
        "movie_ids": [10, 20, 30, 40],
    }


def test_ranking_of_a_tiny_case_computed_by_hand() -> None:
    measured = evaluate_to_document(**small())["model"]

    assert measured["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert measured["recall@10"] == 1
    assert measured["mrr"] == pytest.approx(0.75)
    assert measured["coverage"] == 0.75
    assert measured["rmse"] == pytest.approx(math.sqrt((1.5**2 + 1) / 2))


def _set(frame: pl.DataFrame, row: int, **values: object) -> pl.DataFrame:
    rows = frame.to_dicts()
    rows[row] |= values
    return pl.DataFrame(rows, schema=frame.schema)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("predictions", lambda f: f.head(1), "do not match the holdout's pairs"),
        ("predictions", lambda f: _set(f, 1, movieId=40), "do not match the holdout's pairs"),
        ("predictions", lambda f: pl.concat([f, f.head(1)]), "twice"),
        ("predictions", lambda f: _set(f, 0, prediction=math.nan), "not finite numbers"),
        ("predictions", lambda f: _set(f, 0, prediction=math.inf), "not finite numbers"),
        ("predictions", lambda f: _set(f, 0, prediction=None), "not finite numbers"),
        ("predictions", lambda f: f.drop("prediction"), "lacks columns"),
        ("predictions", lambda f: f.with_columns(userId=pl.lit("x")), "wrong type"),
        ("predictions", lambda f: f.with_columns(userId=pl.lit(1e30)), "wrong type"),
        ("holdout", lambda f: f.clear(), "empty"),
        ("train", lambda f: f.clear(), "empty"),
        ("train", lambda f: _set(f, 0, movieId=30), "pairs of the training part"),
        ("holdout", lambda f: _set(f, 0, movieId=50), "does not have"),
        ("recommendations", lambda f: _set(f, 0, movieId=10), "pairs of the training part"),
        ("recommendations", lambda f: _set(f, 0, movieId=50), "does not have"),
        ("recommendations", lambda f: _set(f, 0, movieId=40), "twice"),
        ("recommendations", lambda f: _set(f, 0, rank=0), "not consecutive from 1"),
        ("recommendations", lambda f: _set(f, 1, rank=1), "not consecutive from 1"),
        ("recommendations", lambda f: _set(f, 1, rank=3), "not consecutive from 1"),
        ("recommendations", lambda f: _set(f, 0, score=math.nan), "not finite numbers"),
        ("recommendations", lambda f: f.filter(pl.col("userId") == 1), "too few"),
        ("recommendations", lambda f: f.filter(pl.col("rank") == 1), "too few"),
        ("recommendations", lambda f: pl.concat([f, _set(f.head(1), 0, userId=3)]), "outside"),
    ],
)
def test_tables_that_cannot_be_measured_are_refused(table: str, change: Any, message: str) -> None:
    given = small()
    given[table] = change(given[table])
    with pytest.raises(EvaluationError, match=message):
        evaluate_to_document(**given)
