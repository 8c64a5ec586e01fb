"""What the site asks a release: movies like one, movies for a user, movies for a newcomer.

Every statement names the release's own tables. They never change under their names, so an answer
is of one release from beginning to end, whatever is promoted meanwhile, without a transaction
around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from recsys_site.bundle import Live, table
from recsys_site.catalog import Movie
from recsys_site.cold_start import newcomer_vector
from recsys_site.model import UNKNOWN_USER
from release_reader import Connection

MAX_RATINGS: Final = 100
LIKED_STARS: Final = 3.5
_REASONS_FROM: Final = 100
"""Films rated last that a recommendation may be explained by."""
_MIN_LIKENESS: Final = 0.1
"""A movie less similar than this explains nothing."""
SEARCH_WIDTH: Final = 400
"""Candidates that a search keeps, unless it has to look past what somebody has seen."""
_MAX_SEARCH_WIDTH: Final = 1000

_SIMILAR: Final[LiteralString] = """\
select movieid,
       1 - (vector <=> (select vector from {0} where movieid = %(id)s)) as cosine
from {0}
where movieid <> %(id)s
  and exists (select from {0} where movieid = %(id)s)
order by vector <=> (select vector from {0} where movieid = %(id)s)
limit %(k)s"""
_FOR_VECTOR: Final[LiteralString] = """\
select movieid, -(vector <#> %(vector)s::real[]::halfvec) as score
from {0}
where movieid <> all(%(seen)s::integer[])
order by vector <#> %(vector)s::real[]::halfvec
limit %(k)s"""
# Materialized, so that all pairs are compared instead of walking an index for each movie.
_REASONS: Final[LiteralString] = """\
with liked as materialized (select movieid, vector from {0} where movieid = any(%(liked)s)),
     found as materialized (select movieid, vector from {0} where movieid = any(%(found)s))
select distinct on (found.movieid)
       found.movieid, liked.movieid, 1 - (found.vector <=> liked.vector) as cosine
from found, liked
order by found.movieid, found.vector <=> liked.vector, liked.movieid"""


class UnknownUserError(LookupError):
    """The release knows no such user."""


@dataclass(frozen=True)
class Neighbour:
    """A movie like the one asked about.

    Attributes:
        movie: it.
        cosine: of both movies' vectors, at most 1.
    """

    movie: Movie
    cosine: float


@dataclass(frozen=True)
class Recommendation:
    """A movie for somebody.

    Attributes:
        movie: it.
        score: inner product of the towers; the order of recommendations.
        stars: what the Keras model expects the user to give.
        because: the liked movie that is most similar, if any is.
    """

    movie: Movie
    score: float
    stars: float
    because: Movie | None


@dataclass(frozen=True)
class ForUser:
    """Recommendations for a user of the dataset.

    Attributes:
        recommendations: best first.
        seen: the movies that the user has rated, newest first.
    """

    recommendations: list[Recommendation]
    seen: tuple[int, ...]


def similar(conn: Connection, live: Live, movie_id: int, k: int) -> list[Neighbour]:
    """The ``k`` movies nearest to one, nearest first; none if nobody has rated it yet."""
    query = table(_SIMILAR, live.movie_vectors)
    rows = _search(conn, query, {"id": movie_id, "k": k})
    return [Neighbour(live.model.catalog.movie(movie), cosine) for movie, cosine in rows]


def similar_query(live: Live, movie_id: int, k: int) -> str:
    """The statement of `similar` as psql takes it."""
    text = table(_SIMILAR, live.movie_vectors).as_string(None).replace('"', "")
    return text % {"id": movie_id, "k": k} + ";"


def for_user(conn: Connection, live: Live, user_id: int, k: int) -> ForUser:
    """The ``k`` best movies for a user, without those that the user has rated.

    Raises:
        UnknownUserError: the release has no tower of this user.
    """
    row = conn.execute(
        table("select vector::real[], seen from {} where userid = %s", live.user_towers),
        (user_id,),
    ).fetchone()
    if row is None:
        raise UnknownUserError(user_id)
    vector, seen = row
    recent = seen[:_REASONS_FROM]
    found = _nearest(conn, live, vector, seen, k)
    # The tables tell what was rated, not how: the model knows which of it was liked.
    stars = live.model.stars.predict(user_id, [*(movie for movie, _ in found), *recent])
    of_recent = stars[len(found) :]
    liked = [m for m, s in zip(recent, of_recent, strict=True) if s >= np.median(of_recent)]
    return ForUser(_explained(conn, live, found, stars[: len(found)], liked), tuple(seen))


def for_newcomer(
    conn: Connection, live: Live, ratings: Sequence[tuple[int, float]], k: int
) -> list[Recommendation]:
    """The ``k`` best movies for somebody who has rated a few, without these.

    Args:
        conn: a connection.
        live: the release that answers.
        ratings: (movieId, stars), movies unique; unknown movies tell nothing.
        k: number of movies.
    """
    given = dict(ratings)
    rows = conn.execute(
        table("select movieid, vector::real[] from {} where movieid = any(%s)", live.movie_towers),
        (list(given),),
    ).fetchall()
    vector = newcomer_vector(
        live.model.audience,
        np.array([vector for _, vector in rows], np.float32),
        np.array([given[movie] for movie, _ in rows], np.float32),
    )
    found = _nearest(conn, live, vector.tolist(), list(given), k)
    stars = live.model.stars.predict(UNKNOWN_USER, [movie for movie, _ in found])
    liked = [movie for movie, value in ratings if value >= LIKED_STARS]
    return _explained(conn, live, found, stars, liked)


def _nearest(
    conn: Connection, live: Live, vector: Sequence[float], seen: Sequence[int], k: int
) -> list[tuple[int, float]]:
    query = table(_FOR_VECTOR, live.movie_towers)
    # What somebody has rated is mostly what scores highest: look past all of it at once.
    width = min(_MAX_SEARCH_WIDTH, SEARCH_WIDTH + k + len(seen))
    return _search(conn, query, {"vector": list(vector), "seen": list(seen), "k": k}, width)


def _explained(
    conn: Connection,
    live: Live,
    found: Sequence[tuple[int, float]],
    stars: NDArray[np.float32],
    liked: Sequence[int],
) -> list[Recommendation]:
    """Adds stars and reasons."""
    reasons = {}
    if found and liked:
        rows = conn.execute(
            table(_REASONS, live.movie_vectors),
            {"found": [movie for movie, _ in found], "liked": list(liked)},
        ).fetchall()
        reasons = {movie: because for movie, because, cosine in rows if cosine >= _MIN_LIKENESS}
    named = live.model.catalog.movie
    return [
        Recommendation(
            movie=named(movie),
            score=score,
            stars=float(expected),
            because=named(reasons[movie]) if movie in reasons else None,
        )
        for (movie, score), expected in zip(found, stars, strict=True)
    ]


def _search(
    conn: Connection, query: sql.Composed, parameters: dict[str, Any], width: int = SEARCH_WIDTH
) -> list[tuple[int, float]]:
    """Runs a query that an HNSW index answers; ``width`` is how many candidates it keeps."""
    if width == SEARCH_WIDTH:
        # As every connection is set up: one statement, one round trip.
        rows = conn.execute(query, parameters).fetchall()
    else:
        with conn.transaction(), conn.pipeline():
            conn.execute("select set_config('hnsw.ef_search', %s, true)", (str(width),))
            rows = conn.execute(query, parameters).fetchall()
    if len(rows) < parameters["k"]:
        # A filtered walk through the graph can end early; a scan of the whole table cannot.
        with conn.transaction():
            conn.execute("select set_config('enable_indexscan', 'off', true)")
            rows = conn.execute(query, parameters).fetchall()
    return [(movie, float(score)) for movie, score in rows]
