"""Vectors of users and movies whose inner product ranks movies, and the exact search in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import TrainingError
from recsys.evaluation.best import best_columns
from recsys.evaluation.ids import type_of_ids

_Floats: TypeAlias = NDArray[np.float32]
_Ids: TypeAlias = NDArray[np.integer[Any]]

RECOMMENDED: Final = 100
_CHUNK_SCORES: Final = 1 << 23
"""Scores computed at once; finding the best of them takes four times their memory."""
BIAS: Final = -2
"""The dimension that is 1 for a user and the bias for a movie."""


@dataclass(frozen=True)
class Towers:
    """Vectors of all users with an interaction and of all movies.

    The inner product is the complete score: the second to last dimension is 1 for a user and the
    bias for a movie. The last is 0 for a user and gives all movies the same norm
    (`augment_to_equal_norm` in trainer/ranking/towers.py).

    Attributes:
        user_ids: sorted, shape (users,).
        movie_ids: sorted, shape (movies,).
        users: shape (users, dim).
        movies: shape (movies, dim).

    Raises:
        TrainingError: a vector is zero or not finite.
    """

    user_ids: _Ids
    movie_ids: _Ids
    users: _Floats
    movies: _Floats

    def __post_init__(self) -> None:
        for name, vectors in (("user", self.users), ("movie", self.movies)):
            bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
            if bad.any():
                raise TrainingError(
                    f"{bad.sum()} {name} towers are zero or not finite",
                    expected="none",
                    hint="training diverged: lower ranking.learning_rate",
                )

    def vectors_of_users(self, user_ids: _Ids) -> _Floats:
        """Returns vectors, shape (n, dim); an unknown user's ranks movies by their bias alone."""
        place = np.minimum(np.searchsorted(self.user_ids, user_ids), len(self.user_ids) - 1)
        known = self.user_ids[place] == user_ids
        vectors = np.where(known[:, None], self.users[place], np.float32(0))
        vectors[:, BIAS] = 1.0
        return vectors


def recommend(towers: Towers, user_ids: _Ids, train: pl.DataFrame) -> pl.DataFrame:
    """Ranks all movies that a user has not rated, by exact search.

    Args:
        towers: vectors.
        user_ids: users to recommend to, unique, sorted.
        train: userId, movieId: pairs that are never recommended.

    Returns:
        userId, rank (1 is best), movieId, score, sorted by user and rank: `RECOMMENDED` rows for
        each user, or fewer if fewer movies are unrated. Ties go to the smaller movieId.
    """
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
        best = best_columns(scores, RECOMMENDED)
        frames.append(
            pl.DataFrame(
                {
                    "userId": chosen[best.row],
                    "rank": (best.place + 1).astype(np.int16),
                    "movieId": towers.movie_ids[best.column],
                    "score": scores[best.row, best.column],
                }
            ).filter(pl.col("score").is_finite())
        )
    if frames:
        return pl.concat(frames)
    return pl.DataFrame(
        schema={
            "userId": type_of_ids(user_ids),
            "rank": pl.Int16,
            "movieId": type_of_ids(towers.movie_ids),
            "score": pl.Float32,
        }
    )
