"""A user vector for someone whom the training did not know, from a few ratings.

A user tower is made of the movies rated last, but not of their public vectors. How the two go
together is learned from the users who have both: a ridge regression from the mean movie tower of
a user's newest ratings to the user's tower. It takes the public tables alone.

In SQL, with less quality, a newcomer is the mean of those who rated most of the same movies::

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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from recsys.database import Connection
from recsys.errors import UnknownIdError
from recsys.vectors import relation_identifier

Floats = NDArray[np.float32]

_HISTORY: Final = 30
_USERS: Final = 3000
_PENALTY: Final = 0.1
_LIKED_STARS: Final = 4.0
_LIKED_WEIGHT: Final = 1.5
_RECENCY_SCALE: Final = 7.0
_OLDEST_WEIGHT: Final = 0.1
_SPARE_DIMS: Final = 2
_BIAS: Final = -2


@dataclass(frozen=True)
class FoldIn:
    """The map from rated movies to a user vector; one of a release serves all its newcomers.

    Attributes:
        towers: of all movies by movieId, shape (dim,) each.
        weights: shape (latent dim, latent dim).
    """

    towers: Mapping[int, Floats]
    weights: Floats

    @classmethod
    def of(cls, conn: Connection, user_relation: str, movie_relation: str) -> FoldIn:
        """Learns the map from a release's tables, of some thousand users at most.

        Args:
            conn: a connection; one transaction is run on it.
            user_relation: a table or view of user towers.
            movie_relation: a table or view of movie towers.
        """
        # real[] is sent as text like a vector, but has no need of pgvector's types.
        users = sql.SQL(
            "select vector::real[], seen[1:%s] from {} order by hashint4(userid) limit %s"
        ).format(relation_identifier(user_relation))
        movies = sql.SQL("select movieid, vector::real[] from {}").format(
            relation_identifier(movie_relation)
        )
        with conn.transaction():
            known = conn.execute(users, (_HISTORY, _USERS)).fetchall()
            towers = {
                movie: np.asarray(vector, np.float32) for movie, vector in conn.execute(movies)
            }
        return cls.learn([(np.asarray(v, np.float32), seen) for v, seen in known], towers)

    @classmethod
    def learn(
        cls, users: Sequence[tuple[Floats, Sequence[int]]], towers: Mapping[int, Floats]
    ) -> FoldIn:
        """Learns the map.

        Args:
            users: tower, shape (dim,), and movies rated, newest first, of each.
            towers: of all movies by movieId.
        """
        pairs = [
            (vector, np.mean([towers[m] for m in seen[:_HISTORY]], axis=0))
            for vector, seen in users
            if seen
        ]
        wanted = np.stack([vector for vector, _ in pairs])[:, :-_SPARE_DIMS]
        given = np.stack([mean for _, mean in pairs])[:, :-_SPARE_DIMS]
        gram = given.T @ given
        # A newcomer's few movies tell less than thirty: directions that few users have shrink.
        penalty = _PENALTY * max(np.trace(gram) / len(gram), 1e-9)
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), given.T @ wanted)
        return cls(towers, weights.astype(np.float32))

    def newcomer_vector(self, ratings: Mapping[int, float]) -> Floats:
        """The user vector of someone who gave these stars, oldest first, shape (dim,).

        Raises:
            UnknownIdError: none of the movies has a tower.
        """
        known = [(m, stars) for m, stars in reversed(list(ratings.items())) if m in self.towers]
        if not known:
            raise UnknownIdError(
                "no rated movie has a tower",
                found=", ".join(f"movieId {movie}" for movie in ratings) or "no ratings",
                expected="at least one movie of the dataset",
            )
        stars = np.array([s for _, s in known])
        weight = np.exp(-np.arange(len(known)) / _RECENCY_SCALE) + _OLDEST_WEIGHT
        weight *= np.where(stars >= _LIKED_STARS, _LIKED_WEIGHT, 1.0)
        rated: Any = np.stack([self.towers[movie] for movie, _ in known])
        vector = np.zeros(rated.shape[1], np.float32)
        vector[:-_SPARE_DIMS] = (weight / weight.sum()) @ rated[:, :-_SPARE_DIMS] @ self.weights
        vector[_BIAS] = 1.0
        return vector
