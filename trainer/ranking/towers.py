"""Towers: user and movie vectors whose inner product ranks movies for users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import TOWER_DIM
from recsys.errors import TrainingError
from trainer.data import Floats, Ints

RECOMMENDED: Final = 100
_CHUNK_SCORES: Final = 1 << 25
SPARE_DIMS: Final = 2
"""Dimensions without a latent factor: the bias, and the augmentation of `augment_to_equal_norm`."""
BIAS: Final = -2
_LEAST_SHARE: Final = 1e-7


@dataclass(frozen=True)
class Towers:
    """Vectors of all users with an interaction and of all movies.

    The inner product is the complete score: the second to last dimension is 1 for a user and the
    bias for a movie. The last is 0 for a user and gives all movies the same norm
    (`augment_to_equal_norm`).

    Attributes:
        user_ids: sorted, shape (users,).
        movie_ids: sorted, shape (movies,).
        users: shape (users, dim).
        movies: shape (movies, dim).

    Raises:
        TrainingError: a vector is zero or not finite.
    """

    user_ids: Ints
    movie_ids: Ints
    users: Floats
    movies: Floats

    def __post_init__(self) -> None:
        for name, vectors in (("user", self.users), ("movie", self.movies)):
            bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
            if bad.any():
                raise TrainingError(
                    f"{bad.sum()} {name} towers are zero or not finite",
                    expected="none",
                    hint="training diverged: lower ranking.learning_rate",
                )

    def vectors_of_users(self, user_ids: Ints) -> Floats:
        """Returns vectors, shape (n, dim); an unknown user's ranks movies by their bias alone."""
        place = np.minimum(np.searchsorted(self.user_ids, user_ids), len(self.user_ids) - 1)
        known = self.user_ids[place] == user_ids
        vectors = np.where(known[:, None], self.users[place], np.float32(0))
        vectors[:, BIAS] = 1.0
        return vectors


def augment_to_equal_norm(movies: Floats) -> Floats:
    """Reduces maximum inner product search to nearest neighbor search, by augmenting the movies.

    Subtracting the mean movie shifts all scores of a user by the same amount. The last dimension,
    which is 0 for users, is then set so that all movies have the largest movie's norm: the largest
    inner product is the nearest neighbor, and each user's ranking is unchanged (Bachrach et al.,
    "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
    spaces", 2014). On ml-latest-small the recall@10 of an HNSW index is 0.999 with the
    augmentation and 0.69 without.

    Args:
        movies: shape (movies, dim), the last dimension unused.

    Returns:
        Shape (movies, dim).
    """
    moved: Floats = movies - movies.mean(axis=0, dtype=np.float32)
    moved[:, -1] = 0
    squared = np.square(moved, dtype=np.float64).sum(axis=1)
    moved[:, -1] = np.sqrt(squared.max() - squared)
    return moved


def project_to_tower_dim(users: Floats, movies: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Projects users and movies to the contract's dimension, with the least change of scores.

    The mean user's scores go into the movies' biases. The rest is the truncated SVD of the matrix
    users x movies' (Eckart and Young, 1936), computed from both Gram matrices, without forming it.
    Each dimension has a mean square of 1 over users, so that the identity matrix is a fitting prior
    covariance for the vector of a cold-start user.

    Args:
        users: shape (users, wide).
        movies: shape (movies, wide).
        bias: of the movies, shape (movies,).

    Returns:
        Users (users, `TOWER_DIM`) and movies (movies, `TOWER_DIM`), see `Towers`.
    """
    mean = users.mean(axis=0, dtype=np.float64)
    centered = users - mean.astype(np.float32)
    movies = movies - movies.mean(axis=0, dtype=np.float32)
    root, inverse = _roots(centered)
    dim = min(TOWER_DIM - SPARE_DIMS, users.shape[1])
    # eigh returns the eigenvectors in ascending order of the eigenvalues.
    axes = np.linalg.eigh(root @ _gram(movies) @ root)[1][:, -dim:]
    tower_users = np.zeros((len(users), TOWER_DIM), np.float32)
    tower_movies = np.zeros((len(movies), TOWER_DIM), np.float32)
    spread = np.sqrt(len(users))
    tower_users[:, :dim] = centered @ (inverse @ axes * spread).astype(np.float32)
    tower_users[:, BIAS] = 1.0
    tower_movies[:, :dim] = movies @ (root @ axes / spread).astype(np.float32)
    tower_movies[:, BIAS] = bias + movies @ mean.astype(np.float32)
    return tower_users, augment_to_equal_norm(tower_movies)


def recommend(towers: Towers, user_ids: Ints, train: pl.DataFrame) -> pl.DataFrame:
    """Ranks all movies that a user has not rated, by exact search.

    Args:
        towers: vectors.
        user_ids: users to recommend to, unique, sorted.
        train: userId, movieId: pairs that are never recommended.

    Returns:
        userId, rank (1 is best), movieId, score, sorted by user and rank: `RECOMMENDED` rows for
        each user, or fewer if fewer movies are unrated. Ties go to the smaller movieId.
    """
    depth = min(RECOMMENDED, len(towers.movie_ids))
    step = max(1, _CHUNK_SCORES // len(towers.movie_ids))
    users = pl.DataFrame({"userId": user_ids, "row": np.arange(len(user_ids))})
    rated = train.join(users, on="userId").sort("row")
    row = rated["row"].to_numpy()
    column = np.searchsorted(towers.movie_ids, rated["movieId"].to_numpy())
    frames = []
    for first in range(0, len(user_ids), step):
        chosen = user_ids[first : first + step]
        scores = towers.vectors_of_users(chosen) @ towers.movies.T
        begin, end = np.searchsorted(row, [first, first + len(chosen)])
        scores[row[begin:end] - first, column[begin:end]] = -np.inf
        best = np.sort(np.argpartition(-scores, depth - 1, axis=1)[:, :depth], axis=1)
        found = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        frames.append(
            pl.DataFrame(
                {
                    "userId": np.repeat(chosen, depth),
                    "rank": np.tile(np.arange(1, depth + 1, dtype=np.int16), len(chosen)),
                    "movieId": towers.movie_ids[np.take_along_axis(best, order, 1).ravel()],
                    "score": np.take_along_axis(found, order, 1).ravel(),
                }
            ).filter(pl.col("score").is_finite())
        )
    return pl.concat(frames)


def _gram(vectors: Floats) -> NDArray[np.float64]:
    return (vectors.T @ vectors).astype(np.float64)


def _roots(vectors: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the square root of the Gram matrix, and its pseudo-inverse."""
    values, axes = np.linalg.eigh(_gram(vectors))
    positive = values > values[-1] * _LEAST_SHARE
    root = np.sqrt(np.where(positive, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=positive)
    return (axes * root) @ axes.T, (axes * inverse) @ axes.T
