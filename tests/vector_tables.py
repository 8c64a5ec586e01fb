"""Vectors for the tests of tables, and what loads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys import contract
from recsys.contract import MOVIE_VECTOR_DIM, PUBLIC_TABLES, TOWER_DIM
from recsys.database import Connection
from recsys.vectors import (
    load_vectors,
    tables,
)

MOVIE_VECTORS, USER_TOWERS, MOVIE_TOWERS = PUBLIC_TABLES
RELEASE = "0123abcd-4567cdef"
TABLE = f"recsys.{contract.table_name('movie_vectors', RELEASE)}"
USERS = f"recsys.{contract.table_name('user_towers', RELEASE)}"
MOVIES = f"recsys.{contract.table_name('movie_towers', RELEASE)}"


def unit_vectors(n: int, dim: int = MOVIE_VECTOR_DIM, seed: int = 0) -> Any:
    """Random unit vectors in 40 loose clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, dim))
    made = centres[rng.integers(0, 40, n)] + rng.normal(size=(n, dim))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def load(conn: Connection, n: int = 300, seed: int = 0, ids: Any = None) -> tables.LoadedTable:
    ids = np.arange(1, n + 1) if ids is None else ids
    return load_vectors(conn, MOVIE_VECTORS, RELEASE, ids, unit_vectors(n, seed=seed))


def load_towers(
    conn: Connection, n_movies: int, seen: Sequence[Sequence[int]], seed: int = 0
) -> tuple[Any, Any]:
    users = unit_vectors(len(seen), TOWER_DIM, seed)
    movies = unit_vectors(n_movies, TOWER_DIM, seed + 1) * np.linspace(0.5, 2, n_movies)[:, None]
    movies = movies.astype(np.float32)
    load_vectors(conn, USER_TOWERS, RELEASE, np.arange(1, len(seen) + 1), users, {"seen": seen})
    load_vectors(conn, MOVIE_TOWERS, RELEASE, np.arange(1, n_movies + 1), movies)
    return users, movies


def scalar(conn: Connection, query: str, *parameters: Any) -> Any:
    row = conn.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]
