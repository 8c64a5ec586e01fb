"""Naive reference implementations, as in tutorials, for comparison in the same benchmark.

The zip is read into memory as a whole and extracted; ratings become one dense matrix with a column
for each user; rows are inserted one by one. This project's ancestor worked this way.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import requests

from recsys.object_store import ObjectStore, S3Settings


def fetch_whole(source: str, s3: dict[str, Any], work: str) -> dict[str, Any]:
    """Reads the zip into memory, extracts it and stores its files."""
    content = requests.get(source, timeout=600).content
    zipfile.ZipFile(io.BytesIO(content)).extractall(work)
    store = ObjectStore.connect(S3Settings.model_validate(s3))
    for path in Path(work).rglob("*.csv"):
        store.put_file(f"reference/{path.name}", path, {})
    return {"bytes": len(content)}


def dense_pivot(zip_path: str, work: str) -> dict[str, Any]:
    """Pivots ratings into a dense matrix movies x users, 0 where unrated; writes it as text."""
    with zipfile.ZipFile(zip_path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("ratings.csv"))
        with archive.open(name) as file:
            ratings = pd.read_csv(file)
    matrix = ratings.pivot(index="movieId", columns="userId", values="rating").fillna(0)
    matrix.to_csv(Path(work) / "movie_vectors.csv")
    return {"rows": len(matrix), "dim": matrix.shape[1]}


def insert_rows(dsn: str, work: str) -> dict[str, Any]:
    """Inserts the vectors into a table without an index, one statement each."""
    with np.load(Path(work) / "vectors.npz") as file:
        ids, vectors = file["ids"].tolist(), file["vectors"].tolist()
    with psycopg.connect(dsn) as conn:
        conn.execute("drop table if exists row_by_row")
        conn.execute(f"create table row_by_row (movieid integer, vector vector({len(vectors[0])}))")
        for movie_id, vector in zip(ids, vectors, strict=True):
            conn.execute("insert into row_by_row values (%s, %s)", (movie_id, str(vector)))
    return {"rows": len(ids)}
