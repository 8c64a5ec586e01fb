"""Nearest-neighbor queries on a release's tables: movies like a movie, movies for a user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, LiteralString

from numpy.typing import NDArray
from psycopg import sql

from recsys.database import Connection
from recsys.errors import UnknownIdError
from recsys.vectors.rows import COLUMN_TYPE

OPERATOR: Final[Mapping[str, LiteralString]] = {"cosine": "<=>", "inner_product": "<#>"}
OPERATOR_CLASS: Final = {
    "cosine": f"{COLUMN_TYPE}_cosine_ops",
    "inner_product": f"{COLUMN_TYPE}_ip_ops",
}
SEARCH_WIDTH: Final = 400
"""hnsw.ef_search: size of the candidate list of a search; pgvector's default is 40.

Recall@10 on 87,084 noisy vectors of 32 M generated ratings: 0.982 with 200, 0.987 with 300, 0.993
with 400 (docs/adr/0004-movie-vectors.md).
"""
_MAX_SEARCH_WIDTH: Final = 1000
_RELATION: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")


def nearest_to_movie(
    conn: Connection, relation: str, movie_id: int, k: int
) -> list[tuple[int, float]]:
    """Finds the ``k`` movies nearest to a movie, by cosine.

    Args:
        conn: a connection; the search runs in one transaction.
        relation: a table or view of movie vectors, with or without its schema.
        movie_id: the movie; it is not part of the result.
        k: number of movies; the result is shorter only if there are no more.

    Returns:
        (movieId, cosine), nearest first.

    Raises:
        UnknownIdError: the movie has no vector in the relation.
    """
    movies = relation_identifier(relation)
    query = sql.SQL(
        "select m.movieid, 1 - (m.vector <=> (select vector from {movies} where movieid = %(id)s)) "
        "from {movies} m where m.movieid <> %(id)s "
        "order by m.vector <=> (select vector from {movies} where movieid = %(id)s) limit %(k)s"
    ).format(movies=movies)
    known = sql.SQL("select from {} where movieid = %s").format(movies)
    with conn.transaction():
        if conn.execute(known, (movie_id,)).fetchone() is None:
            raise UnknownIdError(
                "this movie has no vector",
                found=f"movieId {movie_id}",
                expected="a movie with at least one rating",
            )
        return _search(conn, query, {"id": movie_id, "k": k}, SEARCH_WIDTH)


def nearest_to_user(
    conn: Connection, user_relation: str, movie_relation: str, user_id: int, k: int
) -> list[tuple[int, float]]:
    """Finds the ``k`` movies with the largest inner product for a user, without rated movies.

    If the relations are public names, a promotion may happen between reading the rated movies and
    the search. The rated movies may then be those of the previous release, but vectors of two
    releases are never mixed. The tables named by ``recsys.current_release`` have no such gap.

    Args:
        conn: a connection; the search runs in one transaction.
        user_relation: a table or view of user towers.
        movie_relation: a table or view of movie towers.
        user_id: the user.
        k: number of movies; the result is shorter only if there are no more.

    Returns:
        (movieId, inner product), best first.

    Raises:
        UnknownIdError: the user has no tower in the relation.
    """
    users, movies = relation_identifier(user_relation), relation_identifier(movie_relation)
    query = sql.SQL(
        "select m.movieid, -(m.vector <#> (select vector from {users} where userid = %(id)s)) "
        "from {movies} m where m.movieid <> all(%(seen)s) "
        "order by m.vector <#> (select vector from {users} where userid = %(id)s) limit %(k)s"
    ).format(users=users, movies=movies)
    rated = sql.SQL("select seen from {} where userid = %s").format(users)
    with conn.transaction():
        row = conn.execute(rated, (user_id,)).fetchone()
        if row is None:
            raise UnknownIdError(
                "this user has no tower",
                found=f"userId {user_id}",
                expected="a user with at least one rating",
            )
        seen = row[0]
        # Movies that a user has rated mostly score highest; the candidates must exceed them.
        width = min(_MAX_SEARCH_WIDTH, SEARCH_WIDTH + k + len(seen))
        return _search(conn, query, {"id": user_id, "seen": array(seen), "k": k}, width)


def nearest_by_cosine(
    conn: Connection, relation: str, vector: NDArray[Any], seen: Sequence[int], k: int
) -> list[tuple[int, float]]:
    """Finds the ``k`` movies nearest to a vector, by cosine.

    Args:
        conn: a connection; the search runs in one transaction.
        relation: a table or view of movie vectors.
        vector: shape (dim,), not zero, e.g. the profile of a cold-start user.
        seen: movieIds to leave out.
        k: number of movies; the result is shorter only if there are no more.

    Returns:
        (movieId, cosine), nearest first.
    """
    query = sql.SQL(
        "select m.movieid, 1 - (m.vector <=> %(vector)s::{type}) from {movies} m "
        "where m.movieid <> all(%(seen)s) "
        "order by m.vector <=> %(vector)s::{type} limit %(k)s"
    ).format(movies=relation_identifier(relation), type=sql.SQL(COLUMN_TYPE))
    parameters = {"vector": _literal(vector), "seen": array(seen), "k": k}
    width = min(_MAX_SEARCH_WIDTH, SEARCH_WIDTH + len(seen))
    with conn.transaction():
        return _search(conn, query, parameters, width)


def cosines_to(
    conn: Connection, relation: str, vector: NDArray[Any], movie_ids: Sequence[int]
) -> dict[int, float]:
    """Computes the cosine of a vector to each of some movies; those without a vector are missing.

    Args:
        conn: a connection.
        relation: a table or view of movie vectors.
        vector: shape (dim,), not zero.
        movie_ids: the movies.
    """
    query = sql.SQL(
        "select movieid, 1 - (vector <=> %s::{type}) from {movies} where movieid = any(%s)"
    ).format(movies=relation_identifier(relation), type=sql.SQL(COLUMN_TYPE))
    rows = conn.execute(query, (_literal(vector), list(movie_ids))).fetchall()
    return {movie: float(cosine) for movie, cosine in rows}


def array(ids: Iterable[int]) -> str:
    """Returns ids as text, which takes the type of the column that it is compared with.

    PostgreSQL compares with all ids at once, by a hash, only if both types are the same; whether
    the column is of type integer or bigint depends on the release.
    """
    return "{" + ",".join(map(str, ids)) + "}"


def _literal(vector: NDArray[Any]) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"


def set_search_width(conn: Connection, width: int) -> None:
    """Sets up the current transaction: ef_search, and iterative scans in strict order."""
    conn.execute(
        "select set_config('hnsw.ef_search', %s, true), "
        "set_config('hnsw.iterative_scan', 'strict_order', true), "
        "set_config('hnsw.max_scan_tuples', '2147483647', true)",
        (str(width),),
    )


def _search(
    conn: Connection, query: sql.Composed, parameters: dict[str, Any], width: int
) -> list[tuple[int, float]]:
    set_search_width(conn, width)
    rows = conn.execute(query, parameters).fetchall()
    if len(rows) < parameters["k"]:
        # A filtered index scan can end early; an exact scan of the table cannot.
        conn.execute("select set_config('enable_indexscan', 'off', true)")
        rows = conn.execute(query, parameters).fetchall()
    return [(movie_id, float(score)) for movie_id, score in rows]


def relation_identifier(relation: str) -> sql.Identifier:
    """Quotes the name of a table or view, with or without schema; ValueError if it is invalid."""
    if not _RELATION.fullmatch(relation):
        raise ValueError(f"not the name of a table or view: {relation[:80]!r}")
    return sql.Identifier(*relation.split("."))
