"""Training on tables: quality, determinism, and no leak of the holdout."""

import gc
import io
import weakref
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.contract import Metrics, TrainerInput
from tests.trainer.conftest import QUICK, Bench, make_interactions, with_split
from trainer import default_architecture
from trainer.architecture import Fit
from trainer.checkpoints import NO_CHECKPOINTS
from trainer.config import TrainingConfig, training_config
from trainer.data import make_ratings
from trainer.default_architecture import fit_models
from trainer.ranking import fit as ranking_fit
from trainer.rating import fit as rating_fit
from trainer.rating.batches import epoch_batches
from trainer.rating.fit import RatingFit, fit_rating_model
from trainer.rating.folded import FoldedRating
from trainer.training import Evaluated, fit_and_evaluate, fit_served, served_errors

Tables = tuple[pl.DataFrame, pl.DataFrame]
CONFIG = training_config(QUICK)


def _same(left: FoldedRating, right: FoldedRating) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("user_vectors", "movie_vectors", "user_bias", "movie_bias")
    )


@pytest.fixture
def same_rating(monkeypatch: pytest.MonkeyPatch, evaluated: Evaluated) -> None:
    """Does not fit the rating model, to save time: for tests of settings of the towers."""
    fit = RatingFit(evaluated.fit.rating, evaluated.fit.rating_epochs)
    monkeypatch.setattr(default_architecture, "fit_rating_model", lambda *_, **named: fit)


def test_the_models_beat_the_baselines_on_structured_tastes(evaluated: Evaluated) -> None:
    model, baselines = evaluated.metrics.model, evaluated.metrics.baselines
    assert model.rmse < 0.65 * baselines.movie_mean.rmse
    assert model.rmse < 0.65 * baselines.bias.rmse
    assert model.ndcg_10 > baselines.popularity.ndcg_10


def test_the_same_seed_gives_the_same_metrics(
    bench: Bench, trained: TrainerInput, evaluated: Evaluated
) -> None:
    def stored(name: str) -> bytes:
        return bench.store.get_bytes(contract.release_key(trained.release_id, name))

    def table(name: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(stored(name)))

    assert Metrics.from_json(stored(contract.METRICS_FILE)) == evaluated.metrics
    assert table(contract.HOLDOUT_PREDICTIONS_FILE).equals(evaluated.predictions)
    assert table(contract.HOLDOUT_RECOMMENDATIONS_FILE).equals(evaluated.recommendations)


def test_no_variable_of_a_fit_outlives_it(small: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []

    def noted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def make(*args: Any, **kwargs: Any) -> Any:
            model = original(*args, **kwargs)
            made.append(weakref.ref(model))
            return model

        monkeypatch.setattr(owner, name, make)

    noted(rating_fit, "RatingMembers")
    noted(ranking_fit, "RankingModel")
    interactions, movies = small
    config = training_config({"rating": {"epochs": 1}, "ranking": {"epochs": 1}})
    # Exclude automatic garbage collection.
    gc.disable()
    try:
        rows = interactions.drop("split")
        fit_models(rows, movies, config, 3, lambda _: None, "evaluated", NO_CHECKPOINTS)
        left = [model() for model in made if model() is not None]
    finally:
        gc.enable()
    assert len(made) == 3, "a scout, the members, the ranking model"
    assert not left


def test_another_seed_gives_another_model(small: Tables) -> None:
    ratings = make_ratings(*small)
    config = CONFIG.rating.model_copy(update={"epochs": 1})
    one, other = (
        fit_rating_model(ratings, config, np.random.default_rng(seed), lambda _: None).folded
        for seed in (3, 4)
    )
    assert not _same(one, other)


def test_the_evaluated_models_do_not_depend_on_the_holdout(
    small: Tables, evaluated: Evaluated
) -> None:
    interactions, movies = small
    held = pl.col("split") == "holdout"
    unrated = movies["movieId"][-1]
    changed = interactions.with_columns(
        rating=pl.when(held).then(5.5 - pl.col("rating")).otherwise("rating"),
        timestamp=pl.when(held).then(0).otherwise("timestamp"),
        movieId=pl.when(held & (pl.col("userId") % 2 == 0)).then(unrated).otherwise("movieId"),
    ).unique(["userId", "movieId"], keep="first", maintain_order=True)
    other = fit_and_evaluate(changed, movies, CONFIG, seed=3)
    assert other.metrics != evaluated.metrics
    assert _same(other.fit.rating, evaluated.fit.rating)
    assert np.array_equal(other.fit.towers.users, evaluated.fit.towers.users)
    assert np.array_equal(other.fit.towers.movies, evaluated.fit.towers.movies)
    assert other.fit.history[0].loss == evaluated.fit.history[0].loss


def test_the_served_models_are_fitted_to_the_holdout_too(
    small: Tables, evaluated: Evaluated, served: Fit
) -> None:
    assert evaluated.fit.interactions == (small[0]["split"] == "train").sum()
    assert served.interactions == len(small[0])
    held = evaluated.predictions
    stars = served.rating.predict(held["userId"].to_numpy(), held["movieId"].to_numpy())
    error = np.sqrt(np.mean(np.square(stars - held["rating"].to_numpy())))
    assert error < evaluated.metrics.model.rmse
    shift, rmse = served_errors(held, served)
    assert 0 < shift < 1
    assert rmse == pytest.approx(error, rel=1e-6)


def test_a_user_and_a_movie_that_are_only_in_the_holdout_are_predicted_and_served() -> None:
    interactions, movies = make_interactions(users=30)
    new_user, unrated = 9_999, movies["movieId"][-1]
    alone = pl.DataFrame(
        {
            "userId": [new_user],
            "movieId": [unrated],
            "rating": [4.0],
            "timestamp": [1],
            "split": ["holdout"],
        },
        schema_overrides=interactions.schema,
    )
    interactions = pl.concat([interactions, alone])
    config = training_config({"rating": {"members": 1, "epochs": 2}, "ranking": {"epochs": 1}})
    evaluated = fit_and_evaluate(interactions, movies, config, seed=0)
    assert new_user not in evaluated.fit.towers.user_ids
    assert evaluated.recommendations.filter(pl.col("userId") == new_user).height == 100
    served = fit_served(interactions, movies, config, 0, evaluated.fit)
    assert new_user in served.towers.user_ids
    assert new_user in served.rating.user_ids


def test_recommendations_are_ranked_unseen_movies(small: Tables, evaluated: Evaluated) -> None:
    interactions, _ = small
    train = interactions.filter(pl.col("split") == "train")
    found = evaluated.recommendations
    assert found.join(train, on=["userId", "movieId"], how="semi").is_empty()
    assert found.group_by("userId").len()["len"].unique().to_list() == [100]
    user = found.filter(pl.col("userId") == found["userId"][0])
    assert user["rank"].to_list() == list(range(1, 101))
    assert user["score"].is_sorted(descending=True)
    # Compare with the inner products of all movies except those that the user rated.
    towers = evaluated.fit.towers
    scores = towers.movies @ towers.users[towers.user_ids == user["userId"][0]][0]
    seen = train.filter(pl.col("userId") == user["userId"][0])["movieId"].to_numpy()
    scores[np.isin(towers.movie_ids, seen)] = -np.inf
    assert user["movieId"].to_list() == towers.movie_ids[np.argsort(-scores)[:100]].tolist()


def test_a_scout_determines_the_epochs_of_a_fit_to_the_whole_training_part(
    small: Tables, same_towers: None
) -> None:
    rating = {"members": 8, "factors": 2, "epochs": 4, "patience": 4}
    config = training_config({"rating": rating, "ranking": {"epochs": 1}})
    fit = fit_and_evaluate(*small, config, seed=0).fit
    records = {model: [r for r in fit.history if r.model == model] for model in ("scout", "rating")}
    assert all(record.validation_rmse for record in records["scout"])
    assert not any(record.validation_rmse for record in records["rating"])
    assert len(records["rating"]) == fit.rating_epochs <= len(records["scout"]) == 4


def test_every_interaction_is_a_target_once_an_epoch(small: Tables) -> None:
    ratings = make_ratings(*small)
    config = CONFIG.rating.model_copy(update={"group_size": 700, "batch_size": 100})
    batches = list(epoch_batches(ratings, config, np.random.default_rng(0)))
    targets = np.concatenate([batch.rows[batch.targets] for batch in batches])
    assert sorted(targets.tolist()) == list(range(len(ratings)))
    for batch in batches:
        assert (ratings.user[batch.rows] == batch.users[batch.row_user]).all()
        assert (ratings.user[batch.rows[batch.targets]] == batch.users[batch.target_user]).all()
        # The batch has the complete history of each of its users.
        assert len(batch.rows) == ratings.user_count[batch.users].sum()


@pytest.mark.parametrize(
    "rating",
    [
        {"recency": 2.0},
        {"group_size": 500},
        {"batch_size": 1_000_000},
        {"members": 1, "factors": 1},
        {"bias_penalty": 0.0, "factor_penalty": 0.0, "history_penalty": 0.0},
    ],
)
def test_unusual_settings_still_beat_the_mean(
    small: Tables, rating: dict[str, Any], same_towers: None
) -> None:
    interactions, movies = small
    overrides = {**QUICK, "rating": {**QUICK["rating"], **rating}}
    config = training_config({**overrides, "ranking": {"epochs": 1}})
    metrics = fit_and_evaluate(interactions, movies, config, seed=0).metrics
    assert metrics.model.rmse < metrics.baselines.movie_mean.rmse


def test_the_sampled_softmax_ranks_nearly_as_well(
    small: Tables, evaluated: Evaluated, same_rating: None
) -> None:
    ranking = {**QUICK["ranking"], "full_softmax_movies": 1, "negatives": 50}
    config = training_config({**QUICK, "ranking": ranking})
    found = fit_and_evaluate(*small, config, seed=3).metrics.model.ndcg_10
    assert found > 0.8 * evaluated.metrics.model.ndcg_10


def test_compressing_to_the_rank_is_exact_and_below_it_approximate(small: Tables) -> None:
    ratings = make_ratings(*small)
    fit = fit_rating_model(ratings, CONFIG.rating, np.random.default_rng(0), lambda _: None)
    rating = fit.folded
    users, movies = ratings.user_ids[ratings.user], ratings.movie_ids[ratings.movie]
    whole = rating.predict(users, movies)
    narrow = rating.compress(5)
    assert narrow.user_vectors.shape == (len(ratings.user_ids), 5)
    assert np.sqrt(np.mean((narrow.predict(users, movies) - whole) ** 2)) < 0.1
    wide = FoldedRating(
        rating.user_ids,
        rating.movie_ids,
        np.hstack([rating.user_vectors, rating.user_vectors]),
        np.hstack([rating.movie_vectors, rating.movie_vectors]) / 2,
        rating.user_bias,
        rating.movie_bias,
    )
    same = wide.compress(rating.user_vectors.shape[1])
    np.testing.assert_allclose(same.predict(users, movies), whole, atol=1e-4)


def test_on_ml_latest_small_both_models_beat_the_baselines(ml_latest_small: Tables) -> None:
    interactions, movies = ml_latest_small
    split = with_split(interactions, 0.2)
    # One member and few epochs: enough for a smoke test on real data.
    config = TrainingConfig.model_validate(
        {"rating": {"members": 1, "epochs": 4}, "ranking": {"epochs": 1}}
    )
    metrics = fit_and_evaluate(split, movies, config, seed=0).metrics
    assert metrics.model.rmse < 0.97 * metrics.baselines.bias.rmse
    assert metrics.model.ndcg_10 > 1.3 * metrics.baselines.popularity.ndcg_10
