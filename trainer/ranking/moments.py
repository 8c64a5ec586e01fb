"""Moments of users' histories: what a user had rated by then, and what came next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.config import RankingConfig
from trainer.data import Floats, Ints, Ratings

STAR_LEVELS: Final = 10


@dataclass(frozen=True)
class Moments:
    """Moments of users' histories.

    Attributes:
        user: shape (n,).
        history: movies before it, newest first; the number of movies where there are none left,
            shape (n, history).
        level: stars of these in half stars less one, 0..9, shape (n, history).
        known: whether there is a movie, shape (n, history).
        liked: whether it was liked, shape (n, history).
        next: movies after it, shape (n, horizon).
        weight: of each of ``next``, 0 where there is none, summing to 1 where there is any,
            shape (n, horizon).
    """

    user: Ints
    history: Ints
    level: Ints
    known: NDArray[np.bool_]
    liked: NDArray[np.bool_]
    next: Ints
    weight: Floats


def moments(ratings: Ratings, rows: NDArray[np.int64], config: RankingConfig) -> Moments:
    """The moments just before these interactions."""
    return _moments(ratings, ratings.user[rows], rows, config)


def newest_moments(ratings: Ratings, users: Ints, config: RankingConfig) -> Moments:
    """The moments after all interactions of these users: nothing comes next."""
    return _moments(ratings, users, ratings.user_start[users + 1], config)


def starts(ratings: Ratings, stride: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Interactions at which moments begin: each user's every ``stride``-th, from a random one on.

    Every user has at least one.
    """
    place = np.arange(len(ratings)) - ratings.user_start[ratings.user]
    offset = np.minimum(rng.integers(0, stride, len(ratings.user_ids)), ratings.user_count - 1)
    return np.flatnonzero((place - offset[ratings.user]) % stride == 0)


def _moments(
    ratings: Ratings, user: Ints, before: NDArray[np.int64], config: RankingConfig
) -> Moments:
    rows = before[:, None] - 1 - np.arange(config.history)
    known = rows >= ratings.user_start[user][:, None]
    rows = np.maximum(rows, 0)
    movie = np.where(known, ratings.movie[rows], len(ratings.movie_ids))
    level = np.clip(np.rint(ratings.stars[rows] * 2) - 1, 0, STAR_LEVELS - 1)
    ahead = before[:, None] + np.arange(config.horizon)
    there = ahead < ratings.user_start[user + 1][:, None]
    ahead = np.minimum(ahead, len(ratings) - 1)
    weight = np.where(ratings.stars[ahead] >= config.liked_stars, config.liked_weight, 1.0)
    weight = np.where(there, weight * np.exp(-config.decay * np.arange(config.horizon)), 0.0)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    return Moments(
        user=user,
        history=movie.astype(np.int32),
        level=level.astype(np.int32),
        known=known,
        liked=known & (ratings.stars[rows] >= config.liked_stars),
        next=ratings.movie[ahead],
        weight=weight.astype(np.float32),
    )
