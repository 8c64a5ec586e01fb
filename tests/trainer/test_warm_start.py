"""The served towers start from the evaluated ones."""

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
from trainer.rating.folded import FoldedRating
from trainer.training import Evaluated, fit_served
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


def test_without_a_step_the_served_towers_are_nearly_the_evaluated_ones(
    small: Tables, evaluated: Evaluated
) -> None:
    served = fit_served(*small, serving(ranking_learning_rate=1e-12), 3, evaluated.fit)
    # Not equal: the histories and the transition model now include the holdout.
    assert 0 < _distance(served, evaluated.fit) < 0.1


def test_the_rating_model_is_fitted_anew_and_the_towers_for_fewer_epochs(
    small: Tables, evaluated: Evaluated, served: Fit
) -> None:
    again = fit_served(*small, serving(method="refit"), 3, evaluated.fit)
    assert isinstance(served.rating, FoldedRating)
    assert isinstance(again.rating, FoldedRating)
    np.testing.assert_array_equal(served.rating.user_vectors, again.rating.user_vectors)
    epochs = [[r.model for r in fit.history].count("ranking") for fit in (served, again)]
    assert epochs == [2, 3]
    assert not np.array_equal(served.towers.users, again.towers.users)


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


def test_the_optimizers_continue_where_the_evaluated_fit_ended(
    small: Tables, evaluated: Evaluated
) -> None:
    start = evaluated.fit.warm_start
    assert start
    ratings = make_ratings(small[0].drop("split"), small[1])
    config = serving().warm().ranking
    fitted = fit_ranking_model(
        ratings, config, np.random.default_rng(0), lambda _: None, start=start
    )
    assert fitted.variables["user/steps"] > start.variables["user/steps"] > 0


def test_the_biases_of_movies_follow_their_popularity(small: Tables, evaluated: Evaluated) -> None:
    start = evaluated.fit.warm_start
    assert start
    popularity = {"log_popularity": start.variables["log_popularity"] - np.log(2)}
    doubled = WarmStart(start.user_ids, start.variables | popularity)
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
