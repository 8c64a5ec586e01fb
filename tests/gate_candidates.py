"""Candidates for the gate that need no training: small numpy models of real ratings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DEPTH = 100
NEIGHBORS = 80


@dataclass(frozen=True)
class Dataset:
    """Ratings of well-known movies; the newest tenth of each user's ratings is the holdout."""

    train: pl.DataFrame
    holdout: pl.DataFrame
    movies: pl.DataFrame
    user_ids: NDArray[np.int64]
    movie_ids: NDArray[np.int64]

    def indices(self, rows: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return (
            np.searchsorted(self.user_ids, rows["userId"].to_numpy()),
            np.searchsorted(self.movie_ids, rows["movieId"].to_numpy()),
        )

    def matrix(self, rows: pl.DataFrame, values: Floats | float) -> Floats:
        made = np.zeros((len(self.user_ids), len(self.movie_ids)))
        made[self.indices(rows)] = values
        return made


@dataclass(frozen=True)
class Candidate:
    """The output of a trainer, and other facts that the gate uses."""

    predictions: pl.DataFrame
    recommendations: pl.DataFrame
    shift_rmse: float = 0.2
    """Stars between served and evaluated predictions."""
    contents: str = "its own"
    movie_hit_rate: float = 0.28


def predict(dataset: Dataset, known: pl.DataFrame, trained: float = 1.0) -> pl.DataFrame:
    """Predicts with biases plus ``trained`` times the residuals of neighbors."""
    user, movie = dataset.indices(known)
    stars = known["rating"].to_numpy()
    mean = stars.mean()
    of_user, of_movie = np.zeros(len(dataset.user_ids)), np.zeros(len(dataset.movie_ids))
    for _ in range(10):
        left = stars - mean - of_user[user]
        of_movie = np.bincount(movie, left, len(of_movie)) / (
            10 + np.bincount(movie, minlength=len(of_movie))
        )
        left = stars - mean - of_movie[movie]
        of_user = np.bincount(user, left, len(of_user)) / (
            15 + np.bincount(user, minlength=len(of_user))
        )
    residual = dataset.matrix(known, stars - mean - of_user[user] - of_movie[movie])
    rated = dataset.matrix(known, 1.0)
    norm = np.sqrt(np.square(residual).sum(axis=0))
    both = rated.T @ rated
    near = residual.T @ residual / np.maximum(np.outer(norm, norm), 1e-9) * both / (both + 50)
    np.fill_diagonal(near, 0)
    kept = np.partition(near, -NEIGHBORS, axis=1)[:, -NEIGHBORS][:, None]
    near = np.where(near >= kept, np.maximum(near, 0), 0)
    guess = (residual @ near.T) / (rated @ near.T + 0.1)
    user, movie = dataset.indices(dataset.holdout)
    answer = mean + of_user[user] + of_movie[movie] + trained * guess[user, movie]
    return as_predictions(dataset, answer)


def as_predictions(dataset: Dataset, stars: Floats | float) -> pl.DataFrame:
    """Returns the stars, clipped, as predictions for the holdout's pairs."""
    clipped = np.broadcast_to(np.clip(stars, 0.5, 5.0), dataset.holdout.height)
    return dataset.holdout.select("userId", "movieId", prediction=pl.Series(clipped))


def scores(dataset: Dataset, known: pl.DataFrame, ridge: float) -> Floats:
    """Scores by kernel ridge regression of the implicit feedback, with a kernel over users."""
    rated = dataset.matrix(known, 1.0)
    alike = rated @ rated.T
    return alike @ np.linalg.solve(alike + ridge * np.eye(len(alike)), rated)


def recommend(dataset: Dataset, score: Floats, seen: pl.DataFrame | None = None) -> pl.DataFrame:
    """Returns the best movies by score for each user of the holdout, without ``seen`` ones."""
    hidden = dataset.matrix(dataset.train if seen is None else seen, 1.0) > 0
    asked = np.unique(dataset.holdout["userId"].to_numpy())
    rows = np.searchsorted(dataset.user_ids, asked)
    ordered = np.argsort(-np.where(hidden, -np.inf, score)[rows], axis=1, kind="stable")
    return pl.DataFrame(
        {
            "userId": np.repeat(asked, DEPTH),
            "rank": np.tile(np.arange(1, DEPTH + 1), len(asked)),
            "movieId": dataset.movie_ids[ordered[:, :DEPTH]].ravel(),
            "score": -np.tile(np.arange(1.0, DEPTH + 1), len(asked)),
        }
    )
