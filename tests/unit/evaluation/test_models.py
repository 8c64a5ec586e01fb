"""`evaluate_models` measures both holdouts and compares with an earlier release on both."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recsys.contract import STARS, TOWER_DIM, RatingScale
from recsys.evaluation import EvaluatedRelease, Towers, evaluate_models, part
from recsys.features.split import Cuts, split_rows
from tests.ratings_maker import interactions

MOVIES = pl.DataFrame(
    {"movieId": range(1, 31), "genres": [["Drama"]] * 30},
    schema={"movieId": pl.Int32, "genres": pl.List(pl.String)},
)


def predict(
    user_ids: NDArray[np.integer[Any]], movie_ids: NDArray[np.integer[Any]], /
) -> NDArray[np.float32]:
    return np.full(len(movie_ids), 3.5, np.float32)


def towers_of(train: pl.DataFrame) -> Towers:
    rng = np.random.default_rng(4)
    users = train["userId"].unique().sort().to_numpy()
    movies = MOVIES["movieId"].to_numpy()
    vectors = (rng.normal(size=(len(ids), TOWER_DIM)) for ids in (users, movies))
    return Towers(users, movies, *(v.astype(np.float32) for v in vectors))


def test_a_release_is_compared_with_an_earlier_one_on_both_holdouts() -> None:
    rows = interactions(5)
    split = split_rows(rows, Cuts(0.2, 230 * 86_400))
    train = part(split, "train")
    # The earlier release was made half a year before: it knows fewer users and rows.
    then = train.filter(pl.col("timestamp") < 150 * 86_400)
    earlier = EvaluatedRelease(
        "0123abcd-0123abcd", predict, towers_of(then), then.select("userId", "movieId")
    )

    found = evaluate_models(split, MOVIES, predict, towers_of(train), earlier)

    metrics = found.metrics
    assert found.predictions.height == (split["split"] == "holdout").sum()
    in_time = metrics.time_holdout
    assert in_time is not None
    assert in_time.holdout.rows == (rows["timestamp"] >= in_time.moment).sum()
    for holdout in (metrics, in_time):
        assert holdout.champion is not None
        assert holdout.champion.release_id == earlier.release_id
        assert holdout.champion.rows == holdout.holdout.rows, "it was trained on none of them"
        assert holdout.champion.ranked_users is not None
        assert holdout.champion.ranked_users <= (holdout.holdout.ranked_users or 0)

    without = evaluate_models(
        split_rows(rows, Cuts(0.2)), MOVIES, predict, towers_of(rows), earlier
    )
    assert without.metrics.time_holdout is None


def test_holdouts_without_a_user_that_can_be_ranked_are_measured_by_rating_errors() -> None:
    rows = interactions(5)
    # Users 8 to 12 start from day 200 on, all others have ended before.
    old = rows.filter((pl.col("userId") < 8) & (pl.col("timestamp") < 200 * 86_400))
    split = split_rows(
        pl.concat([old, rows.filter(pl.col("userId") >= 8)]), Cuts(0.2, 200 * 86_400)
    )
    train = part(split, "train")
    stranger = train.head(1).with_columns(userId=pl.lit(99, pl.Int32))
    earlier = EvaluatedRelease(
        "0123abcd-0123abcd", predict, towers_of(stranger), stranger.select("userId", "movieId")
    )
    metrics = evaluate_models(split, MOVIES, predict, towers_of(train), earlier).metrics
    in_time = metrics.time_holdout
    assert in_time is not None
    assert in_time.holdout.ranked_users == 0
    assert in_time.model.rmse is not None
    assert in_time.model.ndcg_10 is None
    assert in_time.confidence is not None
    assert (in_time.confidence.differences or {})["ndcg@10 - popularity"] is None
    for holdout in (metrics, in_time):
        assert holdout.champion is not None
        assert holdout.champion.ranked_users == 0
        assert holdout.champion.ndcg_10 is None
        assert holdout.champion.rmse is not None


@pytest.mark.parametrize(
    "scale", [RatingScale(min=1, max=10), RatingScale(min=0, max=90), RatingScale(min=1, max=19)]
)
def test_in_another_scale_errors_are_larger_and_rankings_the_same(scale: RatingScale) -> None:
    in_stars = split_rows(interactions(5), Cuts(0.2, 230 * 86_400))
    train = part(in_stars, "train")

    def guess(users: NDArray[np.integer[Any]], movies: NDArray[np.integer[Any]], /) -> Any:
        return (1 + (users * 7 + movies) % 8 / 2).astype(np.float32)

    def guess_in_scale(users: NDArray[np.integer[Any]], movies: NDArray[np.integer[Any]], /) -> Any:
        return scale.from_stars(guess(users, movies)).astype(np.float32)

    rated = in_stars.with_columns(rating=scale.from_stars(pl.col("rating")))
    stars = evaluate_models(in_stars, MOVIES, guess, towers_of(train)).metrics
    found = evaluate_models(rated, MOVIES, guess_in_scale, towers_of(train), scale=scale).metrics

    for ours, theirs in (
        (found, stars),
        (found.time_holdout, stars.time_holdout),
    ):
        assert ours
        assert theirs
        pairs = [
            (ours.model, theirs.model),
            *zip(
                ours.baselines.by_name().values(), theirs.baselines.by_name().values(), strict=True
            ),
        ]
        for mine, other in pairs:
            for name, value in other.values().items():
                factor = scale.factor if name in ("rmse", "mae") else 1.0
                expected = None if value is None else pytest.approx(value * factor, rel=1e-5)
                assert mine.value(name) == expected, name
    assert stars.model.value("liked_ndcg@10")
    assert len(found.calibration or ()) == len(list(scale.steps()))
    counted = {row.stars: (row.rows, row.predicted_rows) for row in found.calibration or ()}
    for row in stars.calibration or ():
        assert row.stars is not None
        at = counted[scale.from_stars(row.stars)]
        assert at == (row.rows, row.predicted_rows)
    assert len(stars.calibration or ()) == len(list(STARS.steps()))
