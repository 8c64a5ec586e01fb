"""Baselines: simple recommenders fitted to the same training part as the candidate."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import STARS, RatingScale
from recsys.evaluation.best import best_columns
from recsys.evaluation.metrics import CUT, LOW_MEAN, Popularity, Ranking
from recsys.evaluation.tables import Floats, Holdout, Indices, Ints, indices_of_ids

BIAS_EPOCHS: Final = 10
BIAS_USER_SHRINKAGE: Final = 15.0
BIAS_MOVIE_SHRINKAGE: Final = 10.0
NEIGHBORS: Final = 30
MAX_KNN_CELLS: Final = 200_000_000
"""Largest number of users x rated movies; as float32 they take 0.8 GB."""
MAX_KNN_OPERATIONS: Final = 1_000_000_000_000
"""Largest cost, as if both products were dense; about five seconds on two cores."""
_KNN_BLOCK: Final = 512
_USER_BLOCK: Final = 256
_COPIED: Final = 1 << 22
_ROW_BLOCK: Final = 1 << 19


@dataclass(frozen=True)
class Training:
    """The training part as arrays, sorted by user; movies are indices into all movies.

    Attributes:
        users: sorted ids of the users with a rating, shape (users,).
        movies: sorted ids of all movies of the dataset, shape (movies,).
        user: index of each rating's user, ascending, shape (n,).
        movie: index of each rating's movie, shape (n,).
        stars: ratings in the scale of the dataset, shape (n,).
        scale: of the ratings.
    """

    users: Ints
    movies: Ints
    user: Indices
    movie: Indices
    stars: NDArray[np.floating]
    scale: RatingScale = STARS

    @classmethod
    def of(cls, train: pl.DataFrame, movies: Ints, scale: RatingScale = STARS) -> Training:
        """Converts a checked table; ``movies`` are the sorted ids of all movies."""
        if not train["userId"].is_sorted():
            train = train.sort("userId")
        users = train["userId"].unique().sort().to_numpy().astype(np.int64)
        return cls(
            users=users,
            movies=movies,
            user=indices_of_ids(train, "userId", users),
            movie=indices_of_ids(train, "movieId", movies),
            stars=train["rating"].to_numpy(),
            scale=scale,
        )

    @property
    def n_movies(self) -> int:
        """Number of all movies of the dataset."""
        return len(self.movies)

    @cached_property
    def user_start(self) -> Ints:
        """First row of each user's ratings, then the number of rows, shape (users + 1,)."""
        return np.searchsorted(self.user, np.arange(len(self.users) + 1))

    @cached_property
    def popularity(self) -> Popularity:
        """Number and mean of the ratings of each movie."""
        raters = np.bincount(self.movie, minlength=self.n_movies)
        stars = _sums(self.movie, self.n_movies, self.stars)
        mean = np.divide(stars, raters, out=np.full(self.n_movies, np.nan), where=raters > 0)
        return Popularity(raters, len(self.users), mean, self.scale.from_stars(LOW_MEAN))

    def known(self, holdout: Holdout) -> tuple[Ints, NDArray[np.bool_]]:
        """Returns the index in ``users`` of each holdout user, and whether the user is there."""
        place = np.minimum(np.searchsorted(self.users, holdout.users), len(self.users) - 1)
        return place, self.users[place] == holdout.users


def predicted_stars(train: Training, holdout: Holdout) -> dict[str, Floats]:
    """Returns the predicted stars of each baseline for the holdout's pairs, each of shape (n,).

    ``movie_mean`` is the global mean for movies unseen in training. ``bias`` is
    mu + b_user + b_movie, fitted by alternating ridge regressions with the movies first (Koren,
    "Factor in the neighbors", ACM TKDD 4, 2010, section 2.1; epochs and shrinkage as in
    Surprise's BaselineOnly), clipped to the scale. An unseen user or movie has bias 0.
    """
    n_users, n_movies = len(train.users), train.n_movies
    mean = float(train.stars.mean(dtype=np.float64))
    movie_rows, user_rows = train.popularity.raters, np.diff(train.user_start)
    movie_sum = _sums(train.movie, n_movies, train.stars) - mean * movie_rows
    user_sum = _sums(train.user, n_users, train.stars) - mean * user_rows
    movie_bias, user_bias = np.zeros(n_movies), np.zeros(n_users)
    for _ in range(BIAS_EPOCHS):
        explained = _sums(train.movie, n_movies, user_bias, train.user)
        movie_bias = (movie_sum - explained) / (BIAS_MOVIE_SHRINKAGE + movie_rows)
        explained = _sums(train.user, n_users, movie_bias, train.movie)
        user_bias = (user_sum - explained) / (BIAS_USER_SHRINKAGE + user_rows)

    place, known = train.known(holdout)
    holdout_user_bias = np.where(known, user_bias[place], 0.0)[holdout.user]
    movie_mean = mean + movie_sum / np.maximum(movie_rows, 1)
    return {
        "global_mean": np.full(len(holdout), mean),
        "movie_mean": movie_mean[holdout.movie],
        "bias": np.clip(
            mean + holdout_user_bias + movie_bias[holdout.movie],
            train.scale.min,
            train.scale.max,
        ),
    }


def _sums(
    target: Indices, n: int, values: NDArray[np.floating], source: Indices | None = None
) -> Floats:
    """Sums ``values``, or ``values[source]``, by ``target``, shape (n,), in blocks."""
    total = np.zeros(n)
    for start in range(0, len(target), _ROW_BLOCK):
        rows = slice(start, start + _ROW_BLOCK)
        weights = values[rows] if source is None else values[source[rows]]
        total += np.bincount(target[rows], weights=weights, minlength=n)
    return total


def rank_by_popularity(train: Training, holdout: Holdout) -> Ranking:
    """Ranks movies by their number of ratings in training, without those that the user has rated.

    Ties go to the smaller movieId. The lists are never materialized: a movie's rank for a user is
    its rank by popularity minus the number of more popular movies that the user has rated.
    """
    size = train.n_movies
    order = np.argsort(-train.popularity.raters, kind="stable")
    index_of = np.empty(size, np.int64)
    index_of[order] = np.arange(size)
    place, known = train.known(holdout)
    begin = np.where(known, train.user_start[place], 0)
    end = np.where(known, train.user_start[place + 1], 0)
    by_user = np.argsort(holdout.user, kind="stable")
    pair_start = np.searchsorted(holdout.user[by_user], np.arange(len(holdout.users) + 1))

    rank = np.empty(len(holdout))
    top_user, top_movie = [], []
    for first in range(0, len(holdout.users), _USER_BLOCK):
        users = np.arange(first, min(first + _USER_BLOCK, len(holdout.users)))
        rows = np.concatenate([np.arange(begin[u], end[u]) for u in users])
        owner = np.repeat(np.arange(len(users)), end[users] - begin[users])
        # With one sorted key for (user, rank), bisection counts all rated movies above.
        above = np.sort(owner * size + index_of[train.movie[rows]])
        start = np.searchsorted(above, np.arange(len(users)) * size)
        pairs = by_user[pair_start[users[0]] : pair_start[users[-1] + 1]]
        asker, asked = holdout.user[pairs] - first, index_of[holdout.movie[pairs]]
        rated_above = np.searchsorted(above, asker * size + asked) - start[asker]
        rank[pairs] = asked - rated_above + 1

        # The c-th unrated rank of a user is c plus the number of rated ranks with at most c
        # unrated ones before them.
        unrated_before = above % size - (np.arange(len(above)) - start[owner])
        unrated = size - (end - begin)[users]
        near = unrated_before < CUT
        owner, unrated_before = owner[near], unrated_before[near]
        for c in range(CUT):
            listed = np.flatnonzero(unrated > c)
            skipped = np.bincount(owner[unrated_before <= c], minlength=len(users))
            top_user.append(users[listed])
            top_movie.append(order[c + skipped[listed]])
    return Ranking(rank, np.concatenate(top_user), np.concatenate(top_movie))


def reason_to_skip_knn(train: Training, holdout: Holdout) -> str:
    """Returns why `rank_by_neighbors` would cost too much; empty if it does not."""
    rated = np.count_nonzero(train.popularity.raters)
    cells = len(train.users) * rated
    operations = 2 * rated**2 * (len(train.users) + len(holdout.users))
    if cells <= MAX_KNN_CELLS and operations <= MAX_KNN_OPERATIONS:
        return ""
    return (
        f"{len(train.users):,} users x {rated:,} rated movies: more than {MAX_KNN_CELLS:,} cells "
        f"or {MAX_KNN_OPERATIONS:.0e} operations"
    )


def rank_by_neighbors(train: Training, holdout: Holdout) -> Ranking:
    """Item-based nearest neighbors on raw ratings; `reason_to_skip_knn` limits its cost.

    A movie's score for a user is the sum of similarity x stars over those of the movie's 30 most
    similar movies that the user has rated; similarity is the cosine of the two columns of stars,
    unrated being 0 (Deshpande and Karypis, "Item-based top-N recommendation algorithms", ACM TOIS
    22, 2004). Ties go to the smaller movieId.

    The last result is kept: a replay trains and measures a release in one process, and this takes
    three quarters of an evaluation.
    """
    digest = hashlib.sha256(str(train.scale).encode())
    arrays = (train.users, train.movies, train.user, train.movie, train.stars)
    for array in (*arrays, holdout.users, holdout.user, holdout.movie):
        digest.update(f"{array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    key = digest.digest()
    found = _last_ranking.get(key)
    if found is None:
        found = _rank_by_neighbors(train, holdout)
        _last_ranking.clear()
        _last_ranking[key] = found
    return found


_last_ranking: Final[dict[bytes, Ranking]] = {}


def _rank_by_neighbors(train: Training, holdout: Holdout) -> Ranking:
    rated = np.flatnonzero(train.popularity.raters)
    column = np.zeros(train.n_movies, np.int64)
    column[rated] = np.arange(len(rated))
    stars = np.zeros((len(train.users), len(rated)), np.float32)
    # In stars a rating is never 0, which stands for no rating.
    stars[train.user, column[train.movie]] = train.scale.to_stars(train.stars)
    unit = stars / np.linalg.norm(stars, axis=0)
    place, known = train.known(holdout)
    asking = stars[place] * known[:, None]
    asked = np.ascontiguousarray(asking.T)

    scores = np.zeros((len(holdout.users), train.n_movies), np.float32)
    for start in range(0, len(rated), _KNN_BLOCK):
        block = np.arange(start, min(start + _KNN_BLOCK, len(rated)))
        similar = unit.T[block] @ unit
        similar[np.arange(len(block)), block] = 0  # a movie is not its own neighbor
        near = best_columns(similar, NEIGHBORS, above=0)
        neighbor = np.zeros((len(block), NEIGHBORS), np.int64)
        weight = np.zeros((len(block), NEIGHBORS), np.float32)
        neighbor[near.row, near.place] = near.column
        weight[near.row, near.place] = similar[near.row, near.column]
        # The stars of all users for these neighbors are copied, so a few movies at a time.
        parts = 1 + neighbor.size * len(asking) // _COPIED
        for few in np.array_split(np.arange(len(block)), min(parts, len(block))):
            summed = np.matmul(weight[few, None, :], asked[neighbor[few]])[:, 0, :]
            scores[:, rated[block[few]]] = summed.T

    for start in range(0, len(scores), _USER_BLOCK):
        of_rated = scores[start : start + _USER_BLOCK, rated]
        of_rated[asking[start : start + _USER_BLOCK] > 0] = -np.inf
        scores[start : start + _USER_BLOCK, rated] = of_rated
    return _by_score(scores, holdout)


def _by_score(scores: NDArray[np.float32], holdout: Holdout) -> Ranking:
    """Ranks by scores of shape (users, movies); movies with -inf are not recommended."""
    rank = np.empty(len(holdout))
    users, movies = [], []
    for start in range(0, len(scores), _USER_BLOCK):
        block = scores[start : start + _USER_BLOCK]
        pairs = np.flatnonzero((holdout.user >= start) & (holdout.user < start + len(block)))
        for few in np.array_split(pairs, 1 + len(pairs) // _USER_BLOCK):
            movie = holdout.movie[few][:, None]
            of_user = block[holdout.user[few] - start]
            own = np.take_along_axis(of_user, movie, axis=1)
            first = (of_user == own) & (np.arange(of_user.shape[1]) < movie)
            rank[few] = 1.0 + np.count_nonzero((of_user > own) | first, axis=1)
        top = best_columns(block, CUT)
        users.append(start + top.row)
        movies.append(top.column)
    return Ranking(rank, np.concatenate(users), np.concatenate(movies))
