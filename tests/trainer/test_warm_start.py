"""The served models start from the evaluated ones."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import QUICK
from trainer.architecture import Fit
from trainer.checkpoints import NO_CHECKPOINTS
from trainer.config import TrainingConfig, training_config
from trainer.data import make_ratings
from trainer.ranking.fit import fit_ranking_model
from trainer.rating.fit import fit_rating_model
from trainer.training import Evaluated, fit_served, served_errors
from trainer.warm_start import WarmStart, take_rows

Tables = tuple[pl.DataFrame, pl.DataFrame]
IDS = st.sets(st.integers(1, 60), min_size=1).map(sorted)


def serving(**settings: object) -> TrainingConfig:
    return training_config({**QUICK, "serving": settings})


@given(IDS, IDS)
def test_known_ids_keep_their_rows_and_others_the_initial_ones(
    before: list[int], now: list[int]
) -> None:
    found = np.array(before)[:, None] * 1.0
    initial = -np.array(now)[:, None] * 1.0
    rows = take_rows(found, np.array(before, np.int32), np.array(now, np.int32), initial)
    assert rows[:, 0].tolist() == [one if one in before else -one for one in now]
    assert initial[:, 0].tolist() == [-one for one in now], "the argument is not changed"


def test_without_a_step_the_served_models_are_the_evaluated_ones(
    small: Tables, evaluated: Evaluated
) -> None:
    still = serving(rating_learning_rate=1e-12, ranking_learning_rate=1e-12)
    served = fit_served(*small, still, 3, evaluated.fit)
    held = evaluated.predictions
    stars = served.rating.predict(held["userId"].to_numpy(), held["movieId"].to_numpy())
    # Not equal: the histories and the mean now include the holdout.
    assert np.sqrt(np.mean(np.square(stars - held["prediction"].to_numpy()))) < 0.1
    assert _distance(served, evaluated.fit) < 0.1


def test_a_warm_start_is_nearer_to_the_evaluated_models_than_a_refit(
    small: Tables, evaluated: Evaluated, served: Fit
) -> None:
    again = fit_served(*small, serving(method="refit"), 3, evaluated.fit)
    assert len(served.history) < len(again.history)
    near, far = (served_errors(evaluated.predictions, fit)[0] for fit in (served, again))
    assert 0 < near < far


def _distance(one: Fit, other: Fit) -> float:
    """Returns 1 minus the correlation of the scores of all pairs of users and movies."""
    scores = [(fit.towers.users @ fit.towers.movies.T).ravel() for fit in (one, other)]
    return float(1 - np.corrcoef(scores)[0, 1])


def test_an_architecture_without_variables_to_start_from_is_refitted(
    small: Tables, evaluated: Evaluated
) -> None:
    asked = []

    def another(*arguments: object) -> Fit:
        asked.append(arguments)
        return evaluated.fit

    fit_served(*small, serving(), 3, replace(evaluated.fit, warm_start=None), fit=another)
    assert asked[0][-1] == evaluated.fit.rating_epochs
    assert asked[0][5:7] == ("served", NO_CHECKPOINTS)


def test_optimizers_continue_where_the_evaluated_fit_ended(
    small: Tables, evaluated: Evaluated
) -> None:
    start = evaluated.fit.warm_start
    assert start
    ratings = make_ratings(small[0].drop("split"), small[1])
    config = serving().warm()
    rating = fit_rating_model(
        ratings, config.rating, np.random.default_rng(0), lambda _: None, start=start
    )
    earlier = start.rating["steps"] + start.rating["earlier_steps"]
    assert rating.variables["earlier_steps"] == earlier > 0
    ranking = fit_ranking_model(
        ratings, config.ranking, np.random.default_rng(0), lambda _: None, start=start
    )
    assert ranking.variables["user/steps"] > start.ranking["user/steps"] > 0


def test_the_biases_of_movies_follow_their_popularity(small: Tables, evaluated: Evaluated) -> None:
    start = evaluated.fit.warm_start
    assert start
    doubled = WarmStart(
        start.user_ids,
        start.movie_ids,
        start.rating,
        {**start.ranking, "log_popularity": start.ranking["log_popularity"] - np.log(2)},
    )
    ratings = make_ratings(*small)
    config = serving(ranking_learning_rate=1e-12).warm().ranking
    one, other = (
        fit_ranking_model(
            ratings, config, np.random.default_rng(0), lambda _: None, start=found
        ).variables["bias"]
        for found in (start, doubled)
    )
    np.testing.assert_allclose(other - one, np.log(2), atol=1e-4)


@pytest.mark.parametrize("method", ["warm", "none", ""])
def test_an_unknown_method_is_refused(method: str) -> None:
    from recsys.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match=r"serving\.method"):
        serving(method=method)
