"""Loads movie vectors into PostgreSQL and checks the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys import contract, database, vectors
from recsys.database import PostgresSettings

_MOVIE_VECTORS = contract.public_table("movie_vectors")


def load(dsn: str, release_id: str, work: str) -> dict[str, Any]:
    """Loads vectors into a new table by COPY; adds the primary key and the HNSW index."""
    with np.load(Path(work) / "vectors.npz") as file, _connect(dsn) as conn:
        vectors.enable_vector_extension(conn)
        loaded = vectors.load_vectors(
            conn, _MOVIE_VECTORS, release_id, file["ids"], file["vectors"]
        )
    return {
        "rows": loaded.rows,
        "dim": loaded.dim,
        "digest": loaded.digest,
        "index_s": loaded.index_s,
    }


def check(dsn: str, release_id: str, rows: int) -> dict[str, Any]:
    """Checks counts and norms; measures recall and latency of the index."""
    with _connect(dsn) as conn:
        report = vectors.check_vectors(conn, _MOVIE_VECTORS, release_id, expected_rows=rows)
    return dict(report.model_dump(mode="json"))


def _connect(dsn: str) -> Any:
    return database.connect(PostgresSettings.model_validate({"dsn": dsn}))
