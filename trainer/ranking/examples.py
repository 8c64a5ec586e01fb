"""Training examples of the ranking model: a user's history at one point, and what came next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.config import RankingConfig
from trainer.data import Floats, Ints, Ratings

STAR_LEVELS: Final = 10


@dataclass(frozen=True)
class TrainingExamples:
    """A batch of n examples; movies and users are indices into those of `Ratings`.

    Attributes:
        user: shape (n,).
        history: movies rated before, newest first, padded with the number of movies; shape
            (n, history).
        level: stars of these movies in half stars, minus one: 0..9; shape (n, history).
        known: False for padding, shape (n, history).
        liked: whether the movie got at least ``liked_stars``, shape (n, history).
        next: movies rated next (the targets), shape (n, horizon).
        weight: weight of each target, 0 for padding; sums to 1 if there is a target; shape
            (n, horizon).
    """

    user: Ints
    history: Ints
    level: Ints
    known: NDArray[np.bool_]
    liked: NDArray[np.bool_]
    next: Ints
    weight: Floats


def examples_before(
    ratings: Ratings, rows: NDArray[np.int64], config: RankingConfig
) -> TrainingExamples:
    """Returns one example for each of these interactions, which is its first target."""
    return _examples(ratings, ratings.user[rows], rows, config)


def newest_examples(ratings: Ratings, users: Ints, config: RankingConfig) -> TrainingExamples:
    """Returns one example for each user, after all of the user's interactions: without targets."""
    return _examples(ratings, users, ratings.user_start[users + 1], config)


def sample_rows(ratings: Ratings, stride: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Samples every ``stride``-th interaction of each user, from a random offset.

    Every user has at least one.
    """
    place = np.arange(len(ratings)) - ratings.user_start[ratings.user]
    offset = np.minimum(rng.integers(0, stride, len(ratings.user_ids)), ratings.user_count - 1)
    return np.flatnonzero((place - offset[ratings.user]) % stride == 0)


def _examples(
    ratings: Ratings, user: Ints, before: NDArray[np.int64], config: RankingConfig
) -> TrainingExamples:
    rows = before[:, None] - 1 - np.arange(config.history)
    known = rows >= ratings.user_start[user][:, None]
    rows = np.maximum(rows, 0)
    movie = np.where(known, ratings.movie[rows], len(ratings.movie_ids))
    level = np.clip(np.rint(ratings.stars[rows] * 2) - 1, 0, STAR_LEVELS - 1)
    ahead = before[:, None] + np.arange(config.horizon)
    is_target = ahead < ratings.user_start[user + 1][:, None]
    ahead = np.minimum(ahead, len(ratings) - 1)
    weight = np.where(ratings.stars[ahead] >= config.liked_stars, config.liked_weight, 1.0)
    weight = np.where(is_target, weight * np.exp(-config.decay * np.arange(config.horizon)), 0.0)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    return TrainingExamples(
        user=user,
        history=movie.astype(np.int32),
        level=level.astype(np.int32),
        known=known,
        liked=known & (ratings.stars[rows] >= config.liked_stars),
        next=ratings.movie[ahead],
        weight=weight.astype(np.float32),
    )
