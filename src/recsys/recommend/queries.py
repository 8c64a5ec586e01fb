"""Queries on the champion's vectors: similar movies, and movies for a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import numpy as np
from psycopg import sql
from psycopg.errors import UndefinedTable
from psycopg.rows import dict_row

from recsys import ledger, vectors
from recsys.contract import RatingScale
from recsys.database import Connection
from recsys.errors import InvalidRatingError, LedgerError, UnknownIdError
from recsys.recommend.catalog import Catalog, ScoredMovie
from recsys.recommend.cold_start import MOST_RATED, NEAREST, make_profile, rank
from recsys.recommend.reasons import MOST_MOVIES, Reason, find_reasons
from recsys.services import Services

# As the site counts them: quick at any number of users.
_LIKED_STARS: Final = 3.5
"""Least stars of a cold-start user's movie that can be a reason; as on the site. Ratings of other
scales are mapped to stars."""
_COUNTED_USERS: Final = 20_000


def read_current_release(conn: Connection) -> dict[str, Any]:
    """Returns the row of the view ``recsys.current_release``.

    Raises:
        LedgerError: there is no champion yet.
    """
    row = None
    # A new database has no ledger yet.
    with suppress(UndefinedTable), conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute("select * from recsys.current_release").fetchone()
    if row is None:
        raise LedgerError(
            "no release has been promoted yet", hint="run `recsys demo` or `recsys run`"
        )
    return row


def read_scale(conn: Connection, release_id: str) -> RatingScale:
    """Returns the scale of the ratings that a release was made from; raises LedgerError."""
    return ledger.get(conn, release_id).complete_manifest.build.features.scale


def most_rated_movie(services: Services) -> int:
    """Returns the movieId of the movie that most users have rated."""
    with services.connect() as conn:
        relation = read_current_release(conn)["user_towers_table"].split(".")
        [(movie_id,)] = conn.execute(
            sql.SQL(
                "select movie from {}, unnest(seen) movie group by movie "
                "order by count(*) desc, movie limit 1"
            ).format(sql.Identifier(*relation))
        ).fetchall()
    return int(movie_id)


def _popularity(conn: Connection, release: dict[str, Any]) -> dict[int, int]:
    """Counts the users who rated each movie, among the first users."""
    relation = release["user_towers_table"].split(".")
    return dict(
        conn.execute(
            sql.SQL(
                "select movie, count(*) from (select seen from {} order by userid limit %s) users, "
                "unnest(seen) movie group by movie"
            ).format(sql.Identifier(*relation)),
            (_COUNTED_USERS,),
        ).fetchall()
    )


def find_similar_movies(
    services: Services, text: str, k: int
) -> tuple[dict[str, Any], list[ScoredMovie], list[ScoredMovie]]:
    """Finds the ``k`` movies nearest to one, by cosine similarity of the movie vectors.

    Args:
        services: the stack.
        text: title or id of the movie (`Catalog.find_all`).
        k: number of movies.

    Returns:
        The current release, the movies that ``text`` may name, best match first, and the neighbors
        of the first of them, nearest first.
    """
    with services.connect() as conn:
        release = read_current_release(conn)
        catalog = Catalog.of(services, release["dataset_md5"], _popularity(conn, release))
        found = catalog.find_all(text)
        rows = vectors.nearest_to_movie(conn, release["movie_vectors_table"], found[0].movie_id, k)
    return release, found, [catalog.movie(m, score) for m, score in rows]


def recommend_for_user(
    services: Services, user_id: int, k: int
) -> tuple[dict[str, Any], list[ScoredMovie]]:
    """Finds the ``k`` movies with the highest tower scores that the user has not rated.

    Reasons are among the movies that the user rated last, whatever their stars, which the public
    tables do not contain.

    Returns:
        The current release and the movies, best first.
    """
    with services.connect() as conn:
        release = read_current_release(conn)
        catalog = Catalog.of(services, release["dataset_md5"])
        rows = vectors.nearest_to_user(
            conn, release["user_towers_table"], release["movie_towers_table"], user_id, k
        )
        query = sql.SQL("select seen[1:%s] from {} where userid = %s").format(
            vectors.relation_identifier(release["user_towers_table"])
        )
        [(recent,)] = conn.execute(query, (MOST_MOVIES, user_id)).fetchall()
        movies = _with_reasons(conn, release, catalog, rows, recent)
    return release, movies


def recommend_for_cold_start(
    services: Services, ratings: Sequence[tuple[str, float]], k: int
) -> tuple[dict[str, Any], list[ScoredMovie], list[ScoredMovie]]:
    """Finds the ``k`` best movies for someone without a tower (`recsys.recommend.cold_start`).

    The candidates are the movies nearest to the ratings, and the most rated ones.

    Args:
        services: the stack.
        ratings: (title or id of a movie as `Catalog.find` takes it, rating in the scale of the
            release's dataset), oldest first.
        k: number of movies.

    Returns:
        The current release, the rated movies with their rating as score, and the best movies.

    Raises:
        InvalidRatingError: a rating is outside of the scale.
        UnknownIdError: none of the rated movies has a vector.
    """
    with services.connect() as conn:
        release = read_current_release(conn)
        counts = _popularity(conn, release)
        catalog = Catalog.of(services, release["dataset_md5"], counts)
        scale = read_scale(conn, release["release_id"])
        for text, value in ratings:
            if not scale.min <= value <= scale.max:
                raise InvalidRatingError(
                    f"the rating of {text!r} is outside of the scale of the dataset",
                    found=f"{value:g}",
                    expected=f"{scale.min:g} to {scale.max:g}",
                )
        rated = {catalog.find(text).movie_id: value for text, value in ratings}
        stars = {movie: float(scale.to_stars(value)) for movie, value in rated.items()}
        cosines = _cosines_to_profile(conn, release["movie_vectors_table"], stars, counts)
        rows = rank(cosines, counts, k)
        newest_first = reversed(stars.items())
        liked = [movie for movie, value in newest_first if value >= _LIKED_STARS]
        movies = _with_reasons(conn, release, catalog, rows, liked)
    return release, [catalog.movie(movie, value) for movie, value in rated.items()], movies


def _cosines_to_profile(
    conn: Connection, movie_vectors: str, stars: Mapping[int, float], counts: Mapping[int, int]
) -> dict[int, float]:
    """Finds the candidates for a cold-start user: movieId and cosine to the user's profile."""
    relation = vectors.relation_identifier(movie_vectors)
    query = sql.SQL("select movieid, vector::real[] from {} where movieid = any(%s)")
    known = dict(conn.execute(query.format(relation), (list(stars),)).fetchall())
    usable = [movie for movie in stars if movie in known]
    if not usable:
        raise UnknownIdError(
            "none of the rated movies has a vector",
            found=", ".join(f"movieId {movie}" for movie in stars) or "no ratings",
            expected="at least one movie that users of the dataset have rated",
        )
    profile = make_profile(
        np.array([known[movie] for movie in usable], np.float32),
        np.array([stars[movie] for movie in usable], np.float32),
    )
    popular = sorted(counts, key=lambda movie: (-counts[movie], movie))
    popular = [movie for movie in popular[: MOST_RATED + len(stars)] if movie not in stars]
    if not profile.any():
        return dict.fromkeys(popular, 1.0)
    nearest = vectors.nearest_by_cosine(conn, movie_vectors, profile, list(stars), NEAREST)
    return vectors.cosines_to(conn, movie_vectors, profile, popular) | dict(nearest)


def _with_reasons(
    conn: Connection,
    release: dict[str, Any],
    catalog: Catalog,
    rows: Sequence[tuple[int, float]],
    own: Sequence[int],
) -> list[ScoredMovie]:
    """Returns the movies of (movieId, score), with reasons among the user's ``own`` movies."""
    recommended = [movie for movie, _ in rows]
    genres = {movie: catalog.movie(movie).genres for movie in (*own, *recommended)}
    found = find_reasons(conn, release["movie_vectors_table"], own, recommended, genres)
    movies = []
    for movie_id, score in rows:
        movie = catalog.movie(movie_id, score)
        if movie_id in found:
            because, cosine = found[movie_id]
            reason = Reason(because, catalog.movie(because).title, cosine)
            movie = replace(movie, because=reason)
        movies.append(movie)
    return movies
