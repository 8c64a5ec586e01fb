"""The time holdout and the last visit: which rows they have, and how they are measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.errors import EvaluationError
from recsys.evaluation import TimeHoldout, ranked_users, time_holdout_rows
from recsys.evaluation.holdouts import VISIT_GAP_S, last_visit
from recsys.features.split import SPLIT, Cuts, split_rows
from tests.examples import examples
from tests.metrics_maker import evaluate_to_document
from tests.ratings_maker import interactions

law = hypothesis_settings(deadline=None, max_examples=examples(30))
DAY = VISIT_GAP_S


def lists_for(users: np.ndarray, train: pl.DataFrame, movies: int = 30) -> pl.DataFrame:
    """Every unrated movie in the order of ids."""
    rated = set(train.select("userId", "movieId").rows())
    rows = [
        (int(user), rank, movie, -float(rank))
        for user in users
        for rank, movie in enumerate(
            [m for m in range(1, movies + 1) if (int(user), m) not in rated][:20], 1
        )
    ]
    schema = {"userId": pl.Int32, "rank": pl.Int32, "movieId": pl.Int32, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def tables(split: pl.DataFrame) -> dict[str, Any]:
    """Arguments of `evaluate` for a split table; every prediction is 3 stars."""
    train, holdout = (split.filter(split=part).drop("split") for part in ("train", "holdout"))
    later = time_holdout_rows(split)

    def guesses(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select("userId", "movieId", prediction=pl.lit(3.0))

    return {
        "train": train,
        "holdout": holdout,
        "predictions": guesses(holdout),
        "recommendations": lists_for(holdout["userId"].unique().sort().to_numpy(), train),
        "movie_ids": list(range(1, 31)),
        "time_holdout": TimeHoldout(
            later, guesses(later), lists_for(ranked_users(later, train), train)
        ),
    }


@law
@given(st.integers(0, 2**32), st.integers(60, 330))
def test_the_time_holdout_is_all_rows_from_a_moment_on_and_training_knows_none(
    seed: int, day: int
) -> None:
    rows = interactions(seed)
    split = split_rows(rows, Cuts(0.2, day * DAY))
    held = time_holdout_rows(split)
    if (split["split"] != "later").all():
        assert held.is_empty()
        return
    moment = held.select(pl.col("timestamp").min()).item()
    assert moment >= day * DAY
    assert held.height == rows.filter(pl.col("timestamp") >= moment).height
    train = split.filter(split="train")
    assert train.filter(pl.col("timestamp") >= moment).is_empty()
    assert set(ranked_users(held, train)) == set(held["userId"]) & set(train["userId"])


def test_both_holdouts_are_measured_with_new_users_and_movies_as_slices() -> None:
    split = split_rows(interactions(5), Cuts(0.2, 230 * DAY))
    given = tables(split)
    measured = evaluate_to_document(**given, resamples=30)

    held = given["time_holdout"].rows
    known = set(given["train"]["userId"])
    rows = held.height
    warm = held.filter(pl.col("userId").is_in(list(known)))
    part = measured["time_holdout"]
    assert part["moment"] == held["timestamp"].min()
    assert part["holdout"] == {
        "rows": rows,
        "users": held["userId"].n_unique(),
        "ranked_users": warm["userId"].n_unique(),
    }
    assert 0 < warm.height < rows
    error = held["rating"].to_numpy().astype(float) - 3.0
    assert part["model"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    slices = part["slices"]["users"]
    assert slices["known before"]["rows"] == warm.height
    assert slices["new"]["rows"] == rows - warm.height
    assert slices["new"]["ndcg@10"] is None, "new users have no recommendations to measure"
    assert part["model"]["ndcg@10"] == pytest.approx(slices["known before"]["ndcg@10"])
    assert set(part["confidence"]["differences"]) == {
        "rmse - bias",
        "ndcg@10 - popularity",
        "liked_ndcg@10 - popularity",
    }
    without = evaluate_to_document(**given | {"time_holdout": None}, resamples=30)
    assert without["time_holdout"] is None
    assert without | {"time_holdout": part} == measured, "the other holdout is not affected"


def test_a_time_holdout_with_training_rows_or_missing_predictions_is_refused() -> None:
    given = tables(split_rows(interactions(5), Cuts(0.2, 230 * DAY)))
    held: TimeHoldout = given["time_holdout"]
    leaked = TimeHoldout(
        pl.concat([held.rows, given["train"].head(1)]),
        pl.concat(
            [
                held.predictions,
                given["train"].head(1).select("userId", "movieId", prediction=pl.lit(3.0)),
            ]
        ),
        held.recommendations,
    )
    for wrong, message in (
        (leaked, "pairs of the training part"),
        (TimeHoldout(held.rows, held.predictions.head(3), held.recommendations), "do not match"),
        (TimeHoldout(held.rows, held.predictions, held.recommendations.head(3)), "too few"),
    ):
        with pytest.raises(EvaluationError, match=message):
            evaluate_to_document(**given | {"time_holdout": wrong}, resamples=0)


def visits(*days: float, user: int = 1, first_movie: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "userId": [user] * len(days),
            "movieId": range(first_movie, first_movie + len(days)),
            "timestamp": [int(day * DAY) for day in days],
        }
    )


def test_the_last_visit_is_what_follows_a_day_without_a_rating() -> None:
    train = visits(*[0.0] * 10)
    holdout = visits(0.4, 0.9, 1.8, 3.0, 3.1, first_movie=20)
    found = last_visit(holdout, train)
    assert found is not None
    assert found.tolist() == [False, False, False, True, True]
    reordered = last_visit(holdout.reverse(), train)
    assert reordered is not None
    assert reordered.tolist() == [True, True, False, False, False]


def test_users_with_few_training_rows_and_tables_without_time_have_no_last_visit() -> None:
    holdout = visits(5.0, first_movie=20)
    few = last_visit(holdout, visits(*[0.0] * 9))
    assert few is not None
    assert few.tolist() == [False]
    enough = last_visit(holdout, visits(*[0.0] * 10))
    assert enough is not None
    assert enough.tolist() == [True]
    assert last_visit(holdout.drop("timestamp"), visits(0.0)) is None


def test_the_last_visit_is_measured_as_a_part_of_the_holdout() -> None:
    split = split_rows(interactions(8, users=20), Cuts(0.2))
    given = tables(split) | {"time_holdout": None}
    measured = evaluate_to_document(**given, resamples=30)
    mask = last_visit(given["holdout"], given["train"])
    assert mask is not None
    assert 0 < mask.sum() < len(mask)
    part = measured["last_visit"]
    assert part["holdout"]["rows"] == mask.sum()
    alone = evaluate_to_document(
        **given
        | {
            "holdout": given["holdout"].filter(pl.Series(mask)),
            "predictions": given["predictions"].filter(pl.Series(mask)),
            "recommendations": given["recommendations"].filter(
                pl.col("userId").is_in(
                    given["holdout"].filter(pl.Series(mask))["userId"].unique().to_list()
                )
            ),
        },
        resamples=0,
    )
    for name in ("rmse", "ndcg@10", "liked_ndcg@10", "coverage", "low_rated_share"):
        assert part["model"][name] == pytest.approx(alone["model"][name]), name


def test_every_split_has_the_column_values_that_readers_know() -> None:
    assert SPLIT.categories.to_list() == ["train", "holdout", "later"]
