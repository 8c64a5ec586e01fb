"""What the released vectors answer: movies like one, movies for a user; the live pair only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from psycopg import sql
from psycopg.errors import UndefinedTable
from psycopg.rows import dict_row

from recsys import vectors
from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.recommend.catalog import Catalog, ScoredMovie
from recsys.recommend.cold_start import FoldIn
from recsys.services import Services


def current_release(conn: Connection) -> dict[str, Any]:
    """The row that readers start from.

    Raises:
        LedgerError: nothing was promoted yet.
    """
    row = None
    # In a new database there is no ledger yet.
    with suppress(UndefinedTable), conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute("select * from recsys.current_release").fetchone()
    if row is None:
        raise LedgerError("nothing was promoted yet", hint="run `recsys demo` or `recsys run`")
    return row


def most_rated_movie(services: Services) -> int:
    """The movieId of the movie that most users have rated."""
    with services.connect() as conn:
        relation = current_release(conn)["user_towers_table"].split(".")
        [(movie_id,)] = conn.execute(
            sql.SQL(
                "select movie from {}, unnest(seen) movie group by movie "
                "order by count(*) desc, movie limit 1"
            ).format(sql.Identifier(*relation))
        ).fetchall()
    return int(movie_id)


def find_similar_movies(
    services: Services, text: str, k: int
) -> tuple[dict[str, Any], ScoredMovie, list[ScoredMovie]]:
    """The ``k`` movies nearest to one, by cosine of the movie vectors.

    Returns:
        The current release, the movie that ``text`` names, and its neighbours, nearest first.
    """
    with services.connect() as conn:
        release = current_release(conn)
        catalog = Catalog.of(services, release["dataset_md5"])
        movie = catalog.find(text)
        found = vectors.nearest_to_movie(conn, release["movie_vectors_table"], movie.movie_id, k)
    return release, movie, [catalog.movie(m, score) for m, score in found]


def recommend_for_user(
    services: Services, user_id: int, k: int
) -> tuple[dict[str, Any], list[ScoredMovie]]:
    """The ``k`` best movies for a user by the towers, without those that the user has rated.

    Returns:
        The current release and the movies, best first.
    """
    with services.connect() as conn:
        release = current_release(conn)
        catalog = Catalog.of(services, release["dataset_md5"])
        found = vectors.nearest_to_user(
            conn, release["user_towers_table"], release["movie_towers_table"], user_id, k
        )
    return release, [catalog.movie(m, score) for m, score in found]


def recommend_for_cold_start(
    services: Services, rated: Sequence[tuple[str, float]], k: int
) -> tuple[dict[str, Any], list[ScoredMovie], list[ScoredMovie]]:
    """The ``k`` best movies for someone who gave these stars, see `recsys.newcomers`.

    Args:
        services: the stack.
        rated: what names a movie (`Catalog.find`) and its stars, oldest first.
        k: number of movies.

    Returns:
        The current release, the movies that were named (their score the stars), and the best.
    """
    with services.connect() as conn:
        release = current_release(conn)
        catalog = Catalog.of(services, release["dataset_md5"])
        named = {catalog.find(text).movie_id: stars for text, stars in rated}
        fold_in = FoldIn.of(conn, release["user_towers_table"], release["movie_towers_table"])
        vector = fold_in.newcomer_vector(named)
        found = vectors.nearest_to_vector(
            conn, release["movie_towers_table"], vector, list(named), k
        )
    return (
        release,
        [catalog.movie(movie, stars) for movie, stars in named.items()],
        [catalog.movie(movie, score) for movie, score in found],
    )
