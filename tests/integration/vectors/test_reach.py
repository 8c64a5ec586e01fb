"""The index leads to every movie, also to those far from all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from recsys import contract
from recsys.database import Connection
from recsys.vectors import load_vectors
from recsys.vectors.search import SEARCH_WIDTH, set_search_width
from tests.vector_tables import MOVIE_TOWERS, RELEASE


def towers_with_favorites(n: int) -> NDArray[np.float32]:
    """Towers of equal length, most near one axis; the lengths without it are log-normal.

    So are those of real movies: a few that almost everybody likes are far from all others.
    """
    rng = np.random.default_rng(1)
    free = MOVIE_TOWERS.dimension - 2
    directions = rng.normal(size=(n, free)) / np.arange(1, free + 1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = 2 * rng.lognormal(0, 0.6, n)
    axis = np.sqrt(lengths.max() ** 2 - lengths**2)
    parts = [directions * lengths[:, None], np.zeros((n, 1)), axis[:, None]]
    return np.hstack(parts).astype(np.float32)


def test_no_favorite_is_out_of_reach_of_the_index(conn: Connection) -> None:
    n = 6000
    vectors = towers_with_favorites(n)
    loaded = load_vectors(conn, MOVIE_TOWERS, RELEASE, np.arange(n), vectors)
    relation = sql.Identifier(contract.LEDGER_SCHEMA, loaded.table)
    best = sql.SQL("select movieid from {} order by vector <#> %s::halfvec limit 1").format(
        relation
    )
    queries = vectors[np.argsort(vectors[:, -1])[:100]]
    # As of users, whose component on the axis of the augmentation is 0.
    queries[:, -1] = 0

    def found(query: NDArray[np.float32]) -> list[tuple[int]]:
        # A prepared statement could keep the plan of the other transaction.
        return conn.execute(best, (str(query.tolist()),), prepare=False).fetchall()

    with conn.transaction():
        conn.execute("set local enable_indexscan = off")
        exact = [found(query) for query in queries]
    with conn.transaction():
        set_search_width(conn, SEARCH_WIDTH)
        conn.execute("set local enable_seqscan = off")
        by_index = [found(query) for query in queries]
    assert by_index == exact
