"""The sampled factorization: its posterior, its weights, and its part in the rating model."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trainer.data import Ratings, make_ratings
from trainer.rating.folded import FoldedRating
from trainer.rating.gibbs import sample_ratings_model

NOISE = 0.4


def drawn(seed: int, *, users: int = 200, movies: int = 60, each: int = 25) -> Ratings:
    """Ratings by biases, two factors and noise; the last ten movies are unrated."""
    rng = np.random.default_rng(seed)
    bias, popular = rng.normal(0, 0.4, users), rng.normal(0, 0.4, movies)
    taste, kind = rng.normal(0, 0.7, (users, 2)), rng.normal(0, 0.7, (movies, 2))
    # Content decides the bias of a movie, so that an unrated one can be predicted.
    content = np.zeros((movies, 2), np.float32)
    content[np.arange(movies), np.arange(movies) % 2] = 1
    popular += np.where(np.arange(movies) % 2, 0.8, -0.8)
    movie = np.concatenate(
        [np.sort(rng.choice(movies - 10, each, replace=False)) for _ in range(users)]
    )
    user = np.repeat(np.arange(users), each)
    stars = 3 + bias[user] + popular[movie] + np.sum(taste[user] * kind[movie], axis=1)
    return Ratings(
        user_ids=np.arange(users, dtype=np.int32),
        movie_ids=np.arange(movies, dtype=np.int32),
        content=content,
        user=user.astype(np.int32),
        movie=movie.astype(np.int32),
        stars=(stars + rng.normal(0, NOISE, len(user))).astype(np.float32),
    )


def rmse(model: FoldedRating, ratings: Ratings, mask: np.ndarray) -> float:
    stars = model.user_bias[ratings.user[mask]] + model.movie_bias[ratings.movie[mask]]
    stars += np.sum(
        model.user_vectors[ratings.user[mask]] * model.movie_vectors[ratings.movie[mask]], axis=1
    )
    return float(np.sqrt(np.mean(np.square(stars - ratings.stars[mask]))))


def fit(ratings: Ratings, weights: np.ndarray | None = None, seed: int = 0) -> FoldedRating:
    even = np.ones(len(ratings), np.float32) if weights is None else weights
    return sample_ratings_model(ratings, 3, 40, even, np.random.default_rng(seed))


def test_held_out_ratings_are_predicted_almost_to_their_noise() -> None:
    ratings = drawn(1)
    held = np.random.default_rng(0).random(len(ratings)) < 0.1
    found = rmse(fit(ratings.subset(~held)), ratings, held)
    assert NOISE * 0.9 < found < NOISE * 1.3
    assert ratings.stars.std() > 2 * found


def test_an_unrated_movie_is_predicted_by_its_content() -> None:
    model = fit(drawn(2))
    unrated = model.movie_bias[-10:]
    assert unrated[1::2].min() > unrated[::2].max() + 0.8


def test_a_rating_of_weight_almost_0_is_ignored() -> None:
    ratings = drawn(3)
    wrong = np.random.default_rng(0).random(len(ratings)) < 0.3
    spoiled = Ratings(
        ratings.user_ids,
        ratings.movie_ids,
        ratings.content,
        ratings.user,
        ratings.movie,
        np.where(wrong, 6 - ratings.stars, ratings.stars).astype(np.float32),
    )
    weights = np.where(wrong, 1e-6, 1.0).astype(np.float32)
    weights /= weights.mean()
    assert rmse(fit(spoiled, weights), ratings, ~wrong) < NOISE * 1.1
    assert rmse(fit(spoiled), ratings, ~wrong) > NOISE * 1.5


def test_the_same_seed_gives_the_same_model_and_another_one_about_the_same() -> None:
    ratings = drawn(4)
    first, again, other = fit(ratings), fit(ratings), fit(ratings, seed=1)
    assert np.array_equal(first.user_vectors, again.user_vectors)
    assert not np.array_equal(first.user_vectors, other.user_vectors)
    everything = np.ones(len(ratings), np.bool_)
    assert rmse(first, ratings, everything) == pytest.approx(
        rmse(other, ratings, everything), rel=0.02
    )


def test_the_average_of_two_models_predicts_the_mean_of_both(
    small: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    ratings = make_ratings(*small)
    even = np.ones(len(ratings), np.float32)
    one, other = (
        sample_ratings_model(ratings, 2, 3, even, np.random.default_rng(seed)) for seed in (0, 1)
    )
    pairs = ratings.user_ids[ratings.user], ratings.movie_ids[ratings.movie]
    mean = (one.predict(*pairs) + other.predict(*pairs)) / 2
    made = one.average(other)
    inside = (mean > 1) & (mean < 4.5)
    np.testing.assert_allclose(made.predict(*pairs)[inside], mean[inside], atol=1e-4)
    np.testing.assert_allclose(made.compress(12).predict(*pairs), made.predict(*pairs), atol=1e-4)
