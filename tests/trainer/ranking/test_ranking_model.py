"""The two-tower model, the item-to-item transition model, and their joint towers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.linalg import solve

from recsys.errors import TrainingError
from trainer.config import RankingConfig
from trainer.data import make_ratings
from trainer.ranking.examples import examples_before, newest_examples, sample_rows
from trainer.ranking.fit import fit_towers
from trainer.ranking.item_transitions import fit_item_transitions, history_weights

CONFIG = RankingConfig(epochs=2, batch_size=64, history=8, horizon=4)


@pytest.fixture(scope="module")
def ratings(small):
    interactions, movies = small
    return make_ratings(interactions, movies)


@pytest.fixture(scope="module")
def tiny():
    """A user with four interactions and one with a single interaction."""
    rows = pl.DataFrame(
        {
            "userId": [1, 1, 1, 1, 2],
            "movieId": [10, 20, 30, 40, 20],
            "rating": [5.0, 3.0, 4.0, 0.5, 2.0],
            "timestamp": [1, 2, 3, 4, 1],
        }
    )
    movies = pl.DataFrame(
        {"movieId": [10, 20, 30, 40], "year": [2000] * 4, "genres": [["A"]] * 4},
        schema_overrides={"year": pl.Int16},
    )
    return make_ratings(rows, movies)


def quiet(record):
    pass


@pytest.fixture(scope="module")
def towers(ratings):
    return fit_towers(ratings, CONFIG, np.random.default_rng(5), quiet)


def test_an_example_has_the_history_newest_first_and_the_targets(tiny):
    config = RankingConfig(history=3, horizon=2, decay=0.0, liked_weight=3.0)
    examples = examples_before(tiny, np.array([2, 4]), config)
    assert examples.user.tolist() == [0, 1]
    assert examples.history.tolist() == [[1, 0, 4], [4, 4, 4]]
    assert examples.known.tolist() == [[True, True, False], [False] * 3]
    assert examples.liked.tolist() == [[False, True, False], [False] * 3]
    assert examples.next[0].tolist() == [2, 3]
    assert examples.weight.tolist() == [[0.75, 0.25], [1.0, 0.0]]


def test_newest_examples_have_no_targets(tiny):
    examples = newest_examples(
        tiny, np.array([0, 1], np.int32), RankingConfig(history=2, horizon=2)
    )
    assert examples.history.tolist() == [[3, 2], [1, 4]]
    assert not examples.weight.any()


@pytest.mark.parametrize("stride", [1, 3, 100])
def test_every_user_has_an_example_with_any_stride(ratings, stride):
    sampled = sample_rows(ratings, stride, np.random.default_rng(0))
    assert len(np.unique(ratings.user[sampled])) == len(ratings.user_ids)


def test_the_transition_model_of_full_rank_is_the_ridge_regression(ratings):
    config = CONFIG.model_copy(update={"transition_dim": 150})
    made = fit_item_transitions(ratings, config, np.random.default_rng(0))

    rows = np.flatnonzero(np.arange(len(ratings)) > ratings.user_start[ratings.user])
    examples = examples_before(ratings, rows, config)
    movies = len(ratings.movie_ids)
    before, after = np.zeros((len(rows), movies + 1)), np.zeros((len(rows), movies))
    np.add.at(before, (np.arange(len(rows))[:, None], examples.history), history_weights(examples))
    np.add.at(after, (np.arange(len(rows))[:, None], examples.next), examples.weight)
    kept = np.bincount(ratings.movie, minlength=movies) > 2
    before, after = before[:, :-1][:, kept], after[:, kept]
    gram = before.T @ before + config.transition_penalty * np.eye(kept.sum())
    assert np.allclose(
        (made.before @ made.after.T)[np.ix_(kept, kept)],
        solve(gram, before.T @ after),
        atol=1e-4,
    )
    assert not made.before[~kept].any()
    assert not made.after[~kept].any()


def test_the_same_seed_gives_the_same_towers_which_rank_a_users_genre_first(ratings, towers):
    first, again = towers, fit_towers(ratings, CONFIG, np.random.default_rng(5), quiet)
    assert np.array_equal(first.users, again.users)
    assert np.array_equal(first.movies, again.movies)
    content = ratings.content[:, :4]
    liked = content[ratings.movie][ratings.stars >= 4]
    user = ratings.user[ratings.stars >= 4]
    taste = np.stack([np.bincount(user, liked[:, g], len(first.user_ids)) for g in range(4)], 1)
    scores = first.users @ first.movies.T
    top = np.argsort(-scores, axis=1)[:, :10]
    share = (content[top].mean(axis=1) * (taste == taste.max(axis=1, keepdims=True))).sum(axis=1)
    assert share.mean() > 1.3 * content.mean(axis=0).mean()


def test_a_sampled_softmax_ranks_nearly_as_well_as_the_full_one(ratings, towers):
    def likelihood(made):
        scores = made.users @ made.movies.T
        ranks = np.argsort(np.argsort(-scores, axis=1), axis=1)
        return ranks[ratings.user, ratings.movie].mean()

    sampling = CONFIG.model_copy(update={"full_softmax_movies": 1, "negatives": 40})
    full = likelihood(towers)
    sampled = likelihood(fit_towers(ratings, sampling, np.random.default_rng(0), quiet))
    chance = (len(ratings.movie_ids) - 1) / 2
    assert full < 0.8 * chance
    assert sampled < 0.8 * chance


def test_an_infinite_loss_ends_the_training_and_names_the_setting_to_lower(ratings):
    wild = CONFIG.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"ranking\.learning_rate"):
        fit_towers(ratings, wild, np.random.default_rng(0), quiet)


def test_two_users_with_one_rating_each_get_towers(tiny):
    kept = tiny.subset(np.array([True, False, False, False, True]))
    made = fit_towers(kept, CONFIG, np.random.default_rng(0), quiet)
    assert np.isfinite(made.users).all()
    assert made.users.shape[0] == 2
