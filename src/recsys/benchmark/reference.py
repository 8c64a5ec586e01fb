"""The same work done the plain way that tutorials teach, for comparison in the same run.

The zip is held in memory whole and extracted; ratings become one dense matrix with a column for
each user; rows are inserted one by one. It is what this project's ancestor did.
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
    """The zip whole in memory, extracted, its files stored."""
    content = requests.get(source, timeout=600).content
    zipfile.ZipFile(io.BytesIO(content)).extractall(work)
    store = ObjectStore.connect(S3Settings.model_validate(s3))
    for path in Path(work).rglob("*.csv"):
        store.put_file(f"reference/{path.name}", path, {})
    return {"bytes": len(content)}


def dense_pivot(zip_path: str, work: str) -> dict[str, Any]:
    """Ratings to a matrix movies x users with zeros where there is no rating, kept as text."""
    with zipfile.ZipFile(zip_path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("ratings.csv"))
        with archive.open(name) as file:
            ratings = pd.read_csv(file)
    matrix = ratings.pivot(index="movieId", columns="userId", values="rating").fillna(0)
    matrix.to_csv(Path(work) / "movie_vectors.csv")
    return {"rows": len(matrix), "dim": matrix.shape[1]}


def insert_rows(dsn: str, work: str) -> dict[str, Any]:
    """The vectors into a table without an index, a statement each."""
    with np.load(Path(work) / "vectors.npz") as made:
        ids, vectors = made["ids"].tolist(), made["vectors"].tolist()
    with psycopg.connect(dsn) as conn:
        conn.execute("drop table if exists row_by_row")
        conn.execute(f"create table row_by_row (movieid integer, vector vector({len(vectors[0])}))")
        for movie_id, vector in zip(ids, vectors, strict=True):
            conn.execute("insert into row_by_row values (%s, %s)", (movie_id, str(vector)))
    return {"rows": len(ids)}
