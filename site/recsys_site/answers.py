"""Queries on a release: similar movies, movies for a user, movies for a few ratings.

Every statement names the release's own tables, which never change. So an answer comes from one
release, without a transaction, even if another release is promoted meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from recsys_site.bundle import Live, table
from recsys_site.catalog import Movie
from recsys_site.cold_start import MOST_RATED, NEAREST, make_profile, rank
from recsys_site.model import UNKNOWN_USER
from release_reader import Connection

MAX_RATINGS: Final = 100
MAX_ID: Final = 2**63 - 1
"""The largest id of any dataset, and value of the widest id columns."""
LIKED_STARS: Final = 3.5
_MAX_REASONS: Final = 100
"""Newest movies of a user that a recommendation may be explained by."""
MIN_COSINE: Final = 0.4
"""Least similarity of a movie that explains a recommendation."""
_VAGUE: Final = frozenset({"Drama"})
REPETITION_COST: Final = 0.05
"""A movie is as good a reason as a nearer one that is a reason already, if their cosines differ by
this much."""
SEARCH_WIDTH: Final = 400
"""hnsw.ef_search of every request: candidates that a search keeps."""
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
where movieid <> all(%(seen)s)
order by vector <#> %(vector)s::real[]::halfvec
limit %(k)s"""
# Materialized, so that PostgreSQL compares all pairs instead of walking an index for each movie.
_REASONS: Final[LiteralString] = """\
with liked as materialized (select movieid, vector from {0} where movieid = any(%(liked)s)),
     found as materialized (select movieid, vector from {0} where movieid = any(%(found)s))
select found.movieid, liked.movieid, 1 - (found.vector <=> liked.vector) as cosine
from found, liked
where 1 - (found.vector <=> liked.vector) >= %(least)s
order by found.movieid, found.vector <=> liked.vector, liked.movieid"""
_FOR_PROFILE: Final[LiteralString] = """\
select movieid, 1 - (vector <=> %(vector)s::real[]::halfvec) as cosine
from {0}
where movieid <> all(%(seen)s)
order by vector <=> %(vector)s::real[]::halfvec
limit %(k)s"""
_COSINES: Final[LiteralString] = """\
select movieid, 1 - (vector <=> %(vector)s::real[]::halfvec) as cosine
from {0}
where movieid = any(%(movies)s)"""


class UnknownUserError(LookupError):
    """The release has no tower of this user."""


@dataclass(frozen=True)
class SimilarMovie:
    """A movie similar to the one that was asked about.

    Attributes:
        movie: the similar movie.
        cosine: similarity of both movies' vectors, at most 1.
    """

    movie: Movie
    cosine: float


@dataclass(frozen=True)
class Recommendation:
    """A recommended movie.

    Attributes:
        movie: the movie.
        score: recommendations are ordered by it; see `recommend_for_user` and `rank`.
        stars: the Keras model's prediction for the user.
        because: a similar movie that the user liked, if one is similar enough.
    """

    movie: Movie
    score: float
    stars: float
    because: Movie | None


@dataclass(frozen=True)
class UserRecommendations:
    """Recommendations for a user of the dataset.

    Attributes:
        recommendations: best first.
        seen: the movies that the user has rated, newest first.
    """

    recommendations: list[Recommendation]
    seen: tuple[int, ...]


def similar_movies(conn: Connection, live: Live, movie_id: int, k: int) -> list[SimilarMovie]:
    """Finds the ``k`` movies nearest to one, nearest first; none if nobody has rated it yet."""
    query = table(_SIMILAR, live.movie_vectors)
    rows = _search(conn, query, {"id": movie_id, "k": k})
    return [SimilarMovie(live.model.catalog.movie(movie), cosine) for movie, cosine in rows]


def similar_movies_query(live: Live, movie_id: int, k: int) -> str:
    """Returns the statement of `similar_movies` in a form that psql accepts."""
    text = table(_SIMILAR, live.movie_vectors).as_string(None).replace('"', "")
    return text % {"id": movie_id, "k": k} + ";"


def known_users(conn: Connection, live: Live, users: Sequence[int]) -> list[int]:
    """Returns those of some users whom the tables still name: others were erased meanwhile."""
    rows = conn.execute(
        table("select userid from {} where userid = any(%s)", live.user_towers), (list(users),)
    ).fetchall()
    known = {user for (user,) in rows}
    return [user for user in users if user in known]


def recommend_for_user(conn: Connection, live: Live, user_id: int, k: int) -> UserRecommendations:
    """Finds the ``k`` best movies for a user, without those that the user has rated.

    Raises:
        UnknownUserError: the release has no tower of this user.
    """
    if user_id > MAX_ID:
        raise UnknownUserError(user_id)
    row = conn.execute(
        table("select vector::real[], seen from {} where userid = %s", live.user_towers),
        (user_id,),
    ).fetchone()
    if row is None:
        raise UnknownUserError(user_id)
    vector, seen = row
    recent = seen[:_MAX_REASONS]
    best = _nearest(conn, live, vector, seen, k)
    # The tables do not hold the stars that a user gave: the model predicts which movies were liked.
    stars = live.model.stars.predict(user_id, [*(movie for movie, _ in best), *recent])
    recent_stars = stars[len(best) :]
    liked = [m for m, s in zip(recent, recent_stars, strict=True) if s >= np.median(recent_stars)]
    return UserRecommendations(_explain(conn, live, best, stars[: len(best)], liked), tuple(seen))


def recommend_for_ratings(
    conn: Connection, live: Live, ratings: Sequence[tuple[int, float]], k: int
) -> list[Recommendation]:
    """Finds the ``k`` best movies for a cold-start user, without the movies that they rated.

    Args:
        conn: a connection.
        live: the release that answers.
        ratings: (movieId, rating in the scale of the dataset), oldest first, movies unique; unknown
            movies are ignored.
        k: number of movies.
    """
    given = {
        movie: float(live.model.scale.to_stars(value))
        for movie, value in ratings
        if live.model.catalog.get(movie)
    }
    best = rank(_cosines_to_profile(conn, live, given), live.model.catalog.counts, k)
    stars = live.model.stars.predict(UNKNOWN_USER, [movie for movie, _ in best])
    liked = [movie for movie, value in given.items() if value >= LIKED_STARS]
    return _explain(conn, live, best, stars, liked)


def _cosines_to_profile(conn: Connection, live: Live, stars: dict[int, float]) -> dict[int, float]:
    """Finds the candidates for a cold-start user: movieId and cosine to the user's profile."""
    query = table(
        "select movieid, vector::real[] from {} where movieid = any(%s)", live.movie_vectors
    )
    vectors = dict(conn.execute(query, (list(stars),)).fetchall())
    usable = [movie for movie in stars if movie in vectors]
    popular = [movie.movie_id for movie in live.model.catalog.most_rated(MOST_RATED + len(stars))]
    popular = [movie for movie in popular if movie not in stars]
    if not usable:
        return dict.fromkeys(popular, 1.0)
    profile = make_profile(
        np.array([vectors[movie] for movie in usable], np.float32),
        np.array([stars[movie] for movie in usable], np.float32),
    )
    if not profile.any():
        return dict.fromkeys(popular, 1.0)
    given = {
        "vector": profile.tolist(),
        "seen": _array(usable),
        "k": NEAREST,
        "movies": _array(popular),
    }
    width = min(_MAX_SEARCH_WIDTH, SEARCH_WIDTH + len(stars))
    nearest = _search(conn, table(_FOR_PROFILE, live.movie_vectors), given, width)
    rows = conn.execute(table(_COSINES, live.movie_vectors), given).fetchall()
    return {movie: float(cosine) for movie, cosine in rows} | dict(nearest)


def _array(ids: Iterable[int]) -> str:
    """Returns ids as text, which takes the type of the column that it is compared with.

    It is integer or bigint, depending on the release. PostgreSQL compares with all ids at once, by
    a hash, only if both types are the same.
    """
    return "{" + ",".join(map(str, ids)) + "}"


def _nearest(
    conn: Connection, live: Live, vector: Sequence[float], seen: Sequence[int], k: int
) -> list[tuple[int, float]]:
    query = table(_FOR_VECTOR, live.movie_towers)
    # The movies that somebody has rated score highest: the search must look past all of them.
    width = min(_MAX_SEARCH_WIDTH, SEARCH_WIDTH + k + len(seen))
    return _search(conn, query, {"vector": list(vector), "seen": _array(seen), "k": k}, width)


def _explain(
    conn: Connection,
    live: Live,
    best: Sequence[tuple[int, float]],
    stars: NDArray[np.float32],
    liked: Sequence[int],
) -> list[Recommendation]:
    """Adds predicted stars and reasons to (movieId, score)."""
    reasons: dict[int, int] = {}
    if best and liked:
        found = [movie for movie, _ in best]
        rows = conn.execute(
            table(_REASONS, live.movie_vectors),
            {"found": found, "liked": list(liked), "least": MIN_COSINE},
        ).fetchall()
        near: dict[int, dict[int, float]] = {}
        genres = {movie: live.model.catalog.movie(movie).genres for movie in (*found, *liked)}
        for movie, because, cosine in rows:
            if share_genre(genres[movie], genres[because]):
                near.setdefault(movie, {})[because] = float(cosine)
        reasons = choose_reasons([(movie, near[movie]) for movie in found if movie in near])
    movie_of = live.model.catalog.movie
    return [
        Recommendation(
            movie=movie_of(movie),
            score=score,
            stars=float(predicted),
            because=movie_of(reasons[movie]) if movie in reasons else None,
        )
        for (movie, score), predicted in zip(best, stars, strict=True)
    ]


def share_genre(some: Collection[str], others: Collection[str]) -> bool:
    """Whether two movies share a genre, besides Drama if both have another one.

    The best-known movies of a time are near to each other, because the same people have seen them;
    a cartoon is no reason for a thriller. A movie without genres shares them with all.
    """
    # As in recsys.recommend, which the site's image does not have; the reasons of both are compared
    # in tests/site/test_same_as_pipeline.py.
    if not some or not others:
        return True
    some_besides, others_besides = set(some) - _VAGUE, set(others) - _VAGUE
    if some_besides and others_besides:
        return bool(some_besides & others_besides)
    return bool(set(some) & set(others))


def choose_reasons(recommended: Sequence[tuple[int, Mapping[int, float]]]) -> dict[int, int]:
    """Chooses a reason for each recommendation: a near movie, but not always the same.

    Args:
        recommended: (movieId, cosine by movieId of the user's near movies), best first.

    Returns:
        movieId of the reason by recommended movieId.
    """
    used: Counter[int] = Counter()
    chosen = {}
    for movie, near in recommended:
        chosen[movie] = min(near, key=lambda own: (REPETITION_COST * used[own] - near[own], own))
        used[chosen[movie]] += 1
    return chosen


def _search(
    conn: Connection, query: sql.Composed, parameters: dict[str, Any], width: int = SEARCH_WIDTH
) -> list[tuple[int, float]]:
    """Runs a query on an HNSW index; ``width`` is the number of candidates that it keeps.

    Rolling back ends each setting with its query, also inside the transaction of a request.
    """
    if width == SEARCH_WIDTH:
        # The setting of every request: one statement, one round trip.
        rows = conn.execute(query, parameters).fetchall()
    else:
        with conn.transaction(force_rollback=True), conn.pipeline():
            conn.execute("select set_config('hnsw.ef_search', %s, true)", (str(width),))
            rows = conn.execute(query, parameters).fetchall()
    if len(rows) < parameters["k"]:
        # A filtered walk through the graph can end early; a scan of the whole table cannot.
        with conn.transaction(force_rollback=True):
            conn.execute("select set_config('enable_indexscan', 'off', true)")
            rows = conn.execute(query, parameters).fetchall()
    return [(movie, float(score)) for movie, score in rows]
