"""Retrieval of hidden movies: their ranks by the similarity with movies that the user liked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.vectors.movie_vectors import MovieVectors

LIKED_STARS: Final = 4.0
"""Ratings of other scales are mapped to stars before."""
_USERS_AT_ONCE: Final = 128

Scores = Callable[[sp.csr_matrix], NDArray[np.float32]]
"""Maps liked movies, ones in (users, movies), to the score of each movie for each user."""


@dataclass(frozen=True)
class RetrievalTask:
    """Hidden movies, and the training ratings of the users who liked them.

    Attributes:
        seen: 1 where a user rated a movie in training, (users, movies).
        liked: 1 where a user liked a movie in training, (users, movies).
        users: row of each hidden movie's user, int64 (hidden,).
        places: column of each hidden movie, int64 (hidden,); -1 if it has no vector.
    """

    seen: sp.csr_matrix
    liked: sp.csr_matrix
    users: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def from_frames(
        cls, hidden: pl.DataFrame, train: pl.DataFrame, ids: NDArray[np.integer[Any]]
    ) -> Self:
        """Builds the task from ``hidden`` (userId, movieId) and ``train`` (also rating)."""
        users, row = np.unique(hidden["userId"].to_numpy(), return_inverse=True)
        rated = train.filter(
            pl.col("userId").is_in(pl.Series(users).implode())
            & pl.col("movieId").is_in(pl.Series(ids).implode())
        )
        liked = rated.filter(pl.col("rating") >= LIKED_STARS)
        movies = hidden["movieId"].to_numpy()
        place = np.minimum(np.searchsorted(ids, movies), len(ids) - 1)
        place[ids[place] != movies] = -1
        return cls(_pairs(rated, users, ids), _pairs(liked, users, ids), row, place)

    def ranks(self, scores_of: Scores) -> NDArray[np.float64]:
        """Ranks each hidden movie among those that its user has not rated; 1 is best.

        Equal scores get their mean rank. The rank is infinite if the movie has no vector or its
        user liked nothing in training.
        """
        ranks = np.full(len(self.users), np.inf)
        for start in range(0, self.seen.shape[0], _USERS_AT_ONCE):
            rows = slice(start, start + _USERS_AT_ONCE)
            scores = scores_of(self.liked[rows])
            scores[self.seen[rows].nonzero()] = -np.inf
            has_liked = np.diff(self.liked[rows].indptr) > 0
            inside = (self.users >= start) & (self.users < start + len(scores)) & (self.places >= 0)
            for at in np.flatnonzero(inside):
                row = self.users[at] - start
                own = scores[row, self.places[at]]
                if has_liked[row] and np.isfinite(own):
                    above = np.count_nonzero(scores[row] > own)
                    ranks[at] = above + (np.count_nonzero(scores[row] == own) + 1) / 2
        return ranks


def by_vectors(movie_vectors: MovieVectors) -> Scores:
    """Scores by the cosine of vectors."""
    return lambda liked: (liked @ movie_vectors.vectors) @ movie_vectors.vectors.T


def by_raw_cosine(stars: sp.csr_matrix) -> Scores:
    """Scores by the exact cosine of the columns of `raw_stars`."""
    # Row-major by movie: the product then reads the scores of few users, which stay in the cache.
    by_movie = stars.T.tocsr()

    def scores(liked: sp.csr_matrix) -> NDArray[np.float32]:
        # With few liked movies, a sparse product takes a tenth of the time of a dense one.
        profiles = (stars @ liked.T.tocsr()).toarray()
        return np.ascontiguousarray((by_movie @ profiles).T)

    return scores


def by_popularity(ratings: NDArray[np.int64]) -> Scores:
    """Scores by the number of a movie's ratings."""
    return lambda liked: np.tile(ratings.astype(np.float32), (liked.shape[0], 1))


def raw_stars(train: pl.DataFrame, ids: NDArray[np.integer[Any]]) -> sp.csr_matrix:
    """Returns the stars, float32 (users, movies), each column scaled to length 1."""
    users, user = np.unique(train["userId"].to_numpy(), return_inverse=True)
    movie = np.searchsorted(ids, train["movieId"].to_numpy())
    stars = train["rating"].to_numpy().astype(np.float32)
    lengths = np.sqrt(np.bincount(movie, np.square(stars), minlength=len(ids)))
    values = stars / lengths[movie].astype(np.float32)
    return sp.csr_matrix((values, (user, movie)), shape=(len(users), len(ids)))


def _pairs(
    frame: pl.DataFrame, users: NDArray[np.integer[Any]], ids: NDArray[np.integer[Any]]
) -> sp.csr_matrix:
    """Returns a matrix (users, movies) with 1 for each row of ``frame``."""
    places = (
        np.searchsorted(users, frame["userId"].to_numpy()),
        np.searchsorted(ids, frame["movieId"].to_numpy()),
    )
    shape = (len(users), len(ids))
    return sp.csr_matrix((np.ones(frame.height, np.float32), places), shape=shape)
