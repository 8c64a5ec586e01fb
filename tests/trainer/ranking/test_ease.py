"""EASE: the closed form, its low rank, the weights of a history, and its part in the towers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trainer.config import RankingConfig
from trainer.data import make_ratings
from trainer.ranking.ease import fit_ease, weighted_history
from trainer.ranking.fit import fit_towers

CONFIG = RankingConfig(epochs=1, batch_size=64, history=8, horizon=4, ease_dim=150)


@pytest.fixture(scope="module")
def ratings(small):
    interactions, movies = small
    return make_ratings(interactions, movies)


def of_definition(ratings, penalty):
    """B, straight from the movies' side: -P_ij / P_jj off the diagonal."""
    shape = len(ratings.user_ids), len(ratings.movie_ids)
    mean = np.bincount(ratings.user, ratings.stars) / np.bincount(ratings.user)
    liked = np.zeros(shape)
    liked[ratings.user, ratings.movie] = np.where(ratings.stars < mean[ratings.user], 0.5, 1.0)
    kept = np.flatnonzero((liked > 0).sum(axis=0) > 1)
    liked = liked[:, kept]
    precision = np.linalg.inv(liked.T @ liked + penalty * np.eye(len(kept)))
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0)
    full = np.zeros((shape[1], shape[1]))
    full[np.ix_(kept, kept)] = weights
    return full


def test_with_full_rank_the_scores_of_all_users_are_those_of_the_definition(ratings):
    users = len(ratings.user_ids)
    made = fit_ease(ratings, CONFIG, np.random.default_rng(0))
    history = weighted_history(ratings, 0, users).toarray()
    expected = history @ of_definition(ratings, CONFIG.ease_penalty)
    assert np.abs(expected).max() > 0.05
    assert np.allclose(made.users(ratings, 0, users) @ made.after.T, expected, atol=1e-4)


def test_a_lower_rank_is_the_best_one_of_the_scores(ratings):
    users = len(ratings.user_ids)
    config = CONFIG.model_copy(update={"ease_dim": 10})
    made = fit_ease(ratings, config, np.random.default_rng(0))
    expected = weighted_history(ratings, 0, users) @ of_definition(ratings, CONFIG.ease_penalty)
    left_over = np.linalg.norm(made.users(ratings, 0, users) @ made.after.T - expected)
    best = np.sqrt(np.square(np.linalg.svd(expected, compute_uv=False)[10:]).sum())
    assert best <= left_over * 1.0001
    assert left_over <= best * 1.02


def test_vectors_of_some_users_are_those_of_all(ratings):
    made = fit_ease(ratings, CONFIG, np.random.default_rng(0))
    users = len(ratings.user_ids)
    some = made.users(ratings, 3, 9)
    assert np.allclose(some, made.users(ratings, 0, users)[3:9], atol=1e-5)


def test_a_history_weighs_the_newest_movie_most_and_a_disliked_one_half():
    rows = pl.DataFrame(
        {
            "userId": [1, 1, 1, 2],
            "movieId": [30, 10, 20, 20],
            "rating": [5.0, 1.0, 4.0, 2.0],
            "timestamp": [1, 2, 3, 4],
        }
    )
    movies = pl.DataFrame(
        {"movieId": [10, 20, 30], "year": [2000] * 3, "genres": [["A"]] * 3},
        schema_overrides={"year": pl.Int16},
    )
    ratings = make_ratings(rows, movies)
    weights = weighted_history(ratings, 0, 2).toarray()
    assert weights[0] == pytest.approx([(np.exp(-0.1) + 0.3) / 2, 1.3, np.exp(-0.2) + 0.3])
    assert weights[1] == pytest.approx([0, 1.3, 0])


def test_a_sample_of_users_gives_vectors_to_all(ratings):
    config = CONFIG.model_copy(update={"ease_users": 20})
    made = fit_ease(ratings, config, np.random.default_rng(0))
    vectors = made.users(ratings, 0, len(ratings.user_ids))
    assert np.isfinite(vectors).all()
    assert (np.abs(vectors).max(axis=1) > 0).mean() > 0.9


def test_the_towers_contain_ease_by_its_weight(ratings):
    def scores(weight):
        config = CONFIG.model_copy(update={"ease_weight": weight})
        towers = fit_towers(ratings, config, np.random.default_rng(0), lambda _: None)
        made = towers.users @ towers.movies.T
        return made - made.mean(axis=1, keepdims=True)

    ease = fit_ease(ratings, CONFIG, np.random.default_rng(0))
    own = ease.users(ratings, 0, len(ratings.user_ids)) @ ease.after.T
    own -= own.mean(axis=1, keepdims=True)

    def likeness(made):
        return float(np.mean(np.sum(made * own, 1) / np.linalg.norm(made, axis=1)))

    assert likeness(scores(0.0)) < likeness(scores(0.3)) < likeness(scores(3.0))
