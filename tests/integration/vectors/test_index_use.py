"""Queries for neighbors use the vector index: the documented ones, and the pipeline's own."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import contract
from recsys.contract import MOVIE_VECTOR_DIM, PUBLIC_TABLES
from recsys.database import Connection
from recsys.recommend import cold_start
from recsys.vectors import (
    enable_vector_extension,
    load_vectors,
    nearest_by_cosine,
    nearest_to_movie,
    nearest_to_user,
)

RELEASE = "0123abcd-4567cdef"
NAMES = {
    table.name: f"recsys.{contract.table_name(table.name, RELEASE)}" for table in PUBLIC_TABLES
}
MOVIES = 100
SEEN = (1, 2, 3)


@pytest.fixture
def conn(postgres_dsn: str) -> Iterator[Connection]:
    rng = np.random.default_rng(0)
    with Connection.connect(postgres_dsn, autocommit=True) as connection:
        enable_vector_extension(connection)
        for table in PUBLIC_TABLES:
            rows = 20 if table.name == "user_towers" else MOVIES
            vectors = rng.normal(size=(rows, table.dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            more: dict[str, Any] = {"seen": [SEEN] * rows} if rows == 20 else {}
            load_vectors(connection, table, RELEASE, np.arange(1, rows + 1), vectors, more)
            connection.execute(f"create view {table.name} as table {NAMES[table.name]}".encode())
            connection.execute(f"analyze {NAMES[table.name]}".encode())
        # So few rows are read whole if they can be. A query that cannot use an index still is.
        connection.execute("set enable_seqscan = off")
        yield connection


def documented(repository: Path) -> list[str]:
    """Every statement of the documents that orders by a distance."""
    texts = [
        path.read_text() for path in (repository / "README.md", *repository.glob("docs/**/*.md"))
    ]
    blocks = [block for text in texts for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]
    assert cold_start.__doc__ is not None
    blocks.append(textwrap.dedent(cold_start.__doc__.partition("::\n")[2]))
    statements = [statement for block in blocks for statement in block.split(";")]
    return [statement for statement in statements if re.search(r"order by .*<[=#]>", statement)]


def test_the_documented_queries_use_the_index(conn: Connection, repository: Path) -> None:
    statements = documented(repository)
    assert {"movie_vectors", "movie_towers"} == {
        name for name in NAMES for statement in statements if f"from {name}" in statement
    } - {"user_towers"}
    for statement in statements:
        plan = "\n".join(row[0] for row in conn.execute(f"explain {statement}".encode()))
        assert re.search(r"Index Scan using \w+_vector_idx", plan), f"{statement}\n{plan}"


@pytest.mark.parametrize(
    ("table", "search"),
    [
        ("movie_vectors", lambda conn: nearest_to_movie(conn, NAMES["movie_vectors"], 7, 10)),
        (
            "movie_towers",
            lambda conn: nearest_to_user(conn, NAMES["user_towers"], NAMES["movie_towers"], 7, 10),
        ),
        (
            "movie_vectors",
            lambda conn: nearest_by_cosine(
                conn, NAMES["movie_vectors"], np.ones(MOVIE_VECTOR_DIM), SEEN, 10
            ),
        ),
    ],
    ids=["movie", "user", "vector"],
)
def test_the_pipelines_queries_use_the_index(
    conn: Connection, table: str, search: Callable[[Connection], object]
) -> None:
    before = index_scans(conn, table)
    search(conn)
    assert index_scans(conn, table) == before + 1


def index_scans(conn: Connection, table: str) -> int:
    """How often this database has scanned the vector index of a table."""
    conn.execute("select pg_stat_force_next_flush()")
    row = conn.execute(
        "select idx_scan from pg_stat_user_indexes where indexrelname = %s",
        (contract.table_name(table, RELEASE) + "_vector_idx",),
    ).fetchone()
    assert row is not None
    return int(row[0])
