"""Reasons of recommendations: the nearest of the user's movies, and none below the least cosine."""

from __future__ import annotations

import numpy as np

from recsys import contract, ledger, vectors
from recsys.contract import MOVIE_VECTOR_DIM, PUBLIC_TABLES
from recsys.recommend import MIN_COSINE, find_reasons
from recsys.services import Services

RELEASE = "0a1b2c3d-11111111"


def test_a_reason_is_the_nearest_own_movie_and_never_below_the_least_cosine(
    services: Services,
) -> None:
    rng = np.random.default_rng(3)
    [table] = [table for table in PUBLIC_TABLES if table.name == "movie_vectors"]
    ids = np.arange(1, 61, dtype=np.int32)
    made = rng.normal(size=(60, MOVIE_VECTOR_DIM)).astype(np.float32)
    made[:40] += 12 * rng.normal(size=(5, MOVIE_VECTOR_DIM))[np.arange(40) % 5].astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    with services.connect() as conn:
        ledger.prepare(conn)
        vectors.enable_vector_extension(conn)
        vectors.load_vectors(conn, table, RELEASE, ids, made, {})
        relation = f"{contract.LEDGER_SCHEMA}.{contract.table_name(table.name, RELEASE)}"
        own, recommended = list(range(1, 11)), list(range(11, 61))
        found = find_reasons(conn, relation, own, [*recommended, 999])
        assert find_reasons(conn, relation, [], recommended) == {}
        assert find_reasons(conn, relation, own, []) == {}

    cosines = made[10:] @ made[:10].T
    expected = {m for m, row in zip(recommended, cosines, strict=True) if row.max() >= MIN_COSINE}
    # The last 20 movies belong to no group.
    assert set(found) == expected
    assert set(range(11, 41)) <= expected
    assert not expected & set(range(41, 61))
    for movie, (because, cosine) in found.items():
        assert because == int(cosines[movie - 11].argmax()) + 1
        assert abs(cosine - cosines[movie - 11].max()) < 2e-3
