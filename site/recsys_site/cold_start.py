"""Cold start: a user vector for a visitor whom no release has a vector of, from a few ratings.

The code is a copy of src/recsys/recommend/cold_start.py, because the site's image does not contain
that package. tests/site/test_same_as_pipeline.py checks that both give the same vectors.
docs/adr/0011-cold-start.md compares this map with the others that were tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

HISTORY: Final = 30
"""Newest movies of a user that the map is learned from."""
USERS: Final = 3000
"""Users that the map is learned from."""
_PENALTY: Final = 0.1
"""Ridge penalty, as a share of the mean variance of a dimension."""
NEUTRAL_STARS: Final = 2.5
"""A rating above it attracts, one below repels. Less than the mean, because people mostly rate
movies that they chose to see."""
_RECENCY: Final = 20.0
"""Ratings after which a rating's weight has fallen to 1/e."""
_OLDEST_WEIGHT: Final = 0.1
_SHRINKAGE: Final = 2.0
"""Number of ratings at which the vector is halfway between the mean user and the map's result."""
_LATENT: Final = slice(None, -2)
"""Latent factors of a tower; the bias and the filler follow (trainer/ranking/towers.py)."""
_BIAS: Final = -2


@dataclass(frozen=True)
class ColdStartMap:
    """Linear map from the towers of rated movies to a user tower.

    Ridge regression, learned on users who have a tower, from the mean tower of the movies that a
    user rated last to the user's own tower.

    Attributes:
        weights: shape (latent dim, latent dim).
        movie_mean: mean, over users, of their mean movie tower, shape (latent dim,).
        user_mean: mean user tower, shape (latent dim,).
    """

    weights: Floats
    movie_mean: Floats
    user_mean: Floats

    @classmethod
    def learn(cls, users: Floats, history_means: Floats) -> ColdStartMap:
        """Learns the map.

        Args:
            users: user towers, shape (users, dim).
            history_means: mean tower of the movies that each user rated last, same shape.
        """
        given = history_means[:, _LATENT].astype(np.float64)
        wanted = users[:, _LATENT].astype(np.float64)
        movie_mean, user_mean = given.mean(axis=0), wanted.mean(axis=0)
        given -= movie_mean
        wanted -= user_mean
        gram = given.T @ given
        # A few ratings say less than the 30 that the map is learned from: the penalty shrinks
        # directions in which few users differ.
        penalty = _PENALTY * max(np.trace(gram) / len(gram), 1e-9)
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), given.T @ wanted)
        return cls(
            weights.astype(np.float32), movie_mean.astype(np.float32), user_mean.astype(np.float32)
        )

    def user_vector(self, movies: Floats, stars: Floats) -> Floats:
        """Computes the user vector of someone who gave these stars.

        Args:
            movies: towers of the rated movies, oldest rating first, shape (n, dim).
            stars: shape (n,).

        Returns:
            Shape (dim,); the mean user's vector if there are no ratings.
        """
        vector = np.zeros(len(self.user_mean) + 2, np.float32)
        vector[_LATENT] = self.user_mean
        vector[_BIAS] = 1.0
        age = np.arange(len(stars))[::-1]
        weights = (np.exp(-age / _RECENCY) + _OLDEST_WEIGHT) * (stars - NEUTRAL_STARS)
        total = np.abs(weights).sum()
        if total > 0:
            effective = total**2 / np.square(weights).sum()
            profile = (weights / total) @ (movies[:, _LATENT] - self.movie_mean)
            vector[_LATENT] += effective / (effective + _SHRINKAGE) * (profile @ self.weights)
        return vector


def mean_history(seen: Sequence[int], towers: Mapping[int, Floats]) -> Floats:
    """Mean tower of the movies that a user rated last, shape (dim,).

    Args:
        seen: movieIds, newest first.
        towers: movie towers by movieId.
    """
    mean: Floats = np.mean([towers[movie] for movie in seen[:HISTORY]], axis=0)
    return mean
