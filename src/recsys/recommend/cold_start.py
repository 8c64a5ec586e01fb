"""Cold start: a user vector for someone who was not in the training data, from a few ratings.

The vector comes from the public tables alone: docs/adr/0011-cold-start.md has the comparison.

In SQL, with less quality, average the users who rated most of the same movies::

    with alike as (
        select vector from user_towers
        where seen && array[1, 6, 50]
        order by cardinality(array(select unnest(seen) intersect select unnest(array[1, 6, 50])))
                 / sqrt(cardinality(seen)) desc
        limit 10
    )
    select movieid, -(vector <#> (select avg(vector) from alike)) as score
    from movie_towers where movieid <> all(array[1, 6, 50])
    order by vector <#> (select avg(vector) from alike) limit 10
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from recsys.database import Connection
from recsys.errors import UnknownIdError
from recsys.vectors import relation_identifier

Floats = NDArray[np.float32]

_HISTORY: Final = 30
"""Newest movies of a user that the map is learned from."""
_USERS: Final = 3000
"""Users that the map is learned from."""
_PENALTY: Final = 0.1
"""Ridge penalty, as a share of the mean variance of a dimension."""
_NEUTRAL_STARS: Final = 2.5
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

    site/recsys_site/cold_start.py has a copy, because the site's image does not contain this
    package; tests/site/test_same_as_pipeline.py checks that both give the same vectors.

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
        weights = (np.exp(-age / _RECENCY) + _OLDEST_WEIGHT) * (stars - _NEUTRAL_STARS)
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
    mean: Floats = np.mean([towers[movie] for movie in seen[:_HISTORY]], axis=0)
    return mean


def rated_user_vector(
    learned: ColdStartMap, towers: Mapping[int, Floats], ratings: Mapping[int, float]
) -> Floats:
    """Computes the user vector from ratings; movies without a tower are ignored.

    Args:
        learned: the map.
        towers: movie towers by movieId.
        ratings: stars by movieId, oldest first.

    Returns:
        Shape (dim,).

    Raises:
        UnknownIdError: none of the movies has a tower.
    """
    usable = [movie for movie in ratings if movie in towers]
    if not usable:
        raise UnknownIdError(
            "none of the rated movies has a tower",
            found=", ".join(f"movieId {movie}" for movie in ratings) or "no ratings",
            expected="at least one movie that users of the dataset have rated",
        )
    return learned.user_vector(
        np.stack([towers[movie] for movie in usable]),
        np.array([ratings[movie] for movie in usable], np.float32),
    )


def learn_cold_start(
    conn: Connection, user_relation: str, movie_relation: str
) -> tuple[ColdStartMap, dict[int, Floats]]:
    """Learns the map from a release's tables, from at most 3,000 of its users.

    Args:
        conn: a connection; one transaction is run on it.
        user_relation: a table or view of user towers.
        movie_relation: a table or view of movie towers.

    Returns:
        The map, and all movie towers by movieId.
    """
    # Reading real[] needs no type of pgvector's.
    users_query = sql.SQL(
        "select vector::real[], seen[1:%s] from {} where seen <> '{{}}' "
        "order by hashint4(userid) limit %s"
    ).format(relation_identifier(user_relation))
    movies_query = sql.SQL("select movieid, vector::real[] from {}").format(
        relation_identifier(movie_relation)
    )
    with conn.transaction():
        users = conn.execute(users_query, (_HISTORY, _USERS)).fetchall()
        towers = {
            movie: np.asarray(vector, np.float32) for movie, vector in conn.execute(movies_query)
        }
    learned = ColdStartMap.learn(
        np.array([vector for vector, _ in users], np.float32),
        np.array([mean_history(seen, towers) for _, seen in users], np.float32),
    )
    return learned, towers
