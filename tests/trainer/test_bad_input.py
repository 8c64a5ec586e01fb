"""Edge cases of the interactions: refused with a reason, or trained on with valid predictions."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.errors import DatasetError
from tests.trainer.conftest import make_interactions, with_split
from trainer.config import training_config
from trainer.data import make_ratings
from trainer.rating.fit import fit_rating_model
from trainer.rating.folded import build_model, predict
from trainer.training import Evaluated, fit_and_evaluate

Tables = tuple[pl.DataFrame, pl.DataFrame]
CONFIG = training_config(
    {"rating": {"members": 1, "factors": 4, "epochs": 2}, "ranking": {"epochs": 1}}
)


def _rated(users: Any, movies: Any, stars: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {"userId": users, "movieId": movies, "rating": stars, "timestamp": range(len(users))},
        schema={
            "userId": pl.Int32,
            "movieId": pl.Int32,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
        },
    )


def _fit(interactions: pl.DataFrame, movies: pl.DataFrame) -> Evaluated:
    return fit_and_evaluate(interactions, movies, CONFIG, seed=0)


def _is_sane(evaluated: Evaluated) -> bool:
    stars = evaluated.predictions["prediction"]
    return bool(stars.is_between(0.5, 5).all() and np.isfinite(evaluated.metrics.model.rmse))


def test_one_rating_per_user_is_enough() -> None:
    _, movies = make_interactions(users=2)
    ids = movies["movieId"].to_numpy()
    rows = _rated(np.arange(1, 61), ids[np.arange(60) % 20], np.arange(60) % 9 / 2 + 0.5)
    held = pl.col("userId") > 50
    split = rows.with_columns(
        split=pl.when(held).then(pl.lit("holdout")).otherwise(pl.lit("train"))
    )
    assert _is_sane(_fit(split, movies))


def test_one_rating_per_user_with_the_pipelines_split_has_no_holdout() -> None:
    _, movies = make_interactions(users=2)
    rows = _rated(
        np.arange(1, 21), movies["movieId"].head(20).to_numpy(), np.arange(20) % 9 / 2 + 1
    )
    with pytest.raises(DatasetError, match="is marked 'holdout'"):
        _fit(rows.with_columns(split=pl.lit("train")), movies)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (pl.col("userId") < 0, "is marked 'train'"),
        (pl.col("userId") == 7, "a single userId"),
        (pl.col("rating") == 4.0, "a single rating"),
    ],
)
def test_no_interactions_a_single_user_and_equal_ratings_are_refused(
    small: Tables, keep: pl.Expr, message: str
) -> None:
    interactions, movies = small
    with pytest.raises(DatasetError, match=message):
        _fit(interactions.filter(keep), movies)


def test_a_user_with_more_ratings_than_the_group_size_is_fitted() -> None:
    interactions, movies = make_interactions(users=20)
    count = 30_000
    more = pl.DataFrame(
        {
            "movieId": np.arange(200_000, 200_000 + count, dtype=np.int32),
            "title": ["x"] * count,
            "year": pl.Series([2000] * count, dtype=pl.Int16),
            "genres": [["Drama"]] * count,
        }
    )
    heavy = _rated(np.full(count, 5), more["movieId"], np.where(np.arange(count) % 2, 5.0, 4.0))
    rows = with_split(pl.concat([interactions.drop("split"), heavy]), 0.1)
    ratings = make_ratings(rows, pl.concat([movies, more]))
    config = CONFIG.rating.model_copy(update={"group_size": 8_000})
    fitted = fit_rating_model(ratings, config, np.random.default_rng(0), lambda record: None)
    stars = fitted.folded.predict(np.full(count, 5), more["movieId"].to_numpy())
    assert np.abs(stars - 4.5).max() < 1
    others = fitted.folded.predict(np.full(3, 7), movies["movieId"].head(3).to_numpy())
    assert ((others >= 0.5) & (others <= 5)).all()


def test_ids_that_are_no_integers_are_refused(small: Tables) -> None:
    interactions, movies = small
    texts = interactions.with_columns(userId=pl.format("user {}", "userId"))
    with pytest.raises(DatasetError, match="a wrong type"):
        _fit(texts, movies)


def test_ids_beyond_32_bits_are_unknown_to_a_model_of_shorter_ones(small: Tables) -> None:
    ratings = make_ratings(*small)
    fitted = fit_rating_model(ratings, CONFIG.rating, np.random.default_rng(0), lambda record: None)
    model = build_model(fitted.folded)
    # Truncated to 32 bits, the first would be a known user.
    huge = np.array([2**32 + 7, 2**31, 2**63 - 1, -(2**63)])
    movie = np.full(4, int(ratings.movie_ids[0]))
    assert len(set(predict(model, huge, movie).tolist())) == 1
    np.testing.assert_allclose(
        predict(model, huge, movie), fitted.folded.predict(huge, movie), atol=1e-5
    )


def test_half_precision_products_give_nearly_the_same_error(
    small: Tables, same_towers: None
) -> None:
    def rmse(precision: str) -> float:
        rating = {"members": 1, "epochs": 6, "precision": precision}
        config = training_config({"rating": rating, "ranking": {"epochs": 1}})
        found = fit_and_evaluate(*small, config, seed=0).metrics.model.rmse
        return float(found)

    assert rmse("bfloat16") == pytest.approx(rmse("float32"), abs=0.02)


def test_training_stops_early_without_a_better_validation_error(small: Tables) -> None:
    ratings = make_ratings(*small)
    # Small penalties and a large learning rate overfit the training part quickly.
    rating = {"epochs": 60, "patience": 3, "members": 1, "learning_rate": 0.05}
    penalties = {"factor_penalty": 0.1, "history_penalty": 0.1}
    config = training_config({"rating": {**rating, **penalties}}).rating
    hidden = np.arange(len(ratings)) % 10 == 1
    rmses: list[float] = []
    fitted = fit_rating_model(
        ratings.subset(~hidden),
        config,
        np.random.default_rng(0),
        lambda record: rmses.append(record.validation_rmse or 0.0),
        ratings.subset(hidden),
    )
    assert len(rmses) == fitted.epochs + 3 < 60
    assert fitted.epochs == 1 + int(np.argmin(rmses))
