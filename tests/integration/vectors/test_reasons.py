"""Reasons of recommendations: the nearest of the user's movies, and none below the least cosine."""

from __future__ import annotations

import numpy as np
import pytest

from recsys import contract, ledger, vectors
from recsys.contract import MOVIE_VECTOR_DIM, PUBLIC_TABLES
from recsys.recommend import MIN_COSINE, find_reasons
from recsys.recommend.reasons import choose_reasons, share_genre
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
        cartoons = dict.fromkeys(own, ("Animation",)) | {11: ("Crime", "Drama")}
        assert set(find_reasons(conn, relation, own, recommended, cartoons)) == set(found) - {11}

    cosines = made[10:] @ made[:10].T
    expected = {m for m, row in zip(recommended, cosines, strict=True) if row.max() >= MIN_COSINE}
    # The last 20 movies belong to no group.
    assert set(found) == expected
    assert set(range(11, 41)) <= expected
    assert not expected & set(range(41, 61))
    for movie, (because, cosine) in found.items():
        assert cosine == pytest.approx(cosines[movie - 11][because - 1], abs=2e-3)
    first = min(found)
    assert found[first][0] == int(cosines[first - 11].argmax()) + 1
    # Two movies of each group are the user's: they take turns where both are about as near.
    assert {because for because, _ in found.values()} == set(own)


def test_a_reason_is_repeated_only_if_the_others_are_much_less_near() -> None:
    alike = {1: 0.60, 2: 0.58}
    recommended = [(11, alike), (12, alike), (13, alike), (14, {1: 0.9, 2: 0.5}), (15, {1: 0.41})]
    chosen = {movie: own for movie, (own, _) in choose_reasons(recommended).items()}
    assert chosen == {11: 1, 12: 2, 13: 1, 14: 1, 15: 1}
    assert choose_reasons([]) == {}


@pytest.mark.parametrize(
    ("some", "others", "shared"),
    [
        ("Animation Children", "Mystery Thriller", False),
        ("Crime Drama", "Drama War", False),
        ("Crime Drama", "Crime Comedy", True),
        ("Drama", "Drama War", True),
        ("Drama", "War", False),
        ("", "War", True),
    ],
)
def test_a_cartoon_is_no_reason_for_a_thriller(some: str, others: str, shared: bool) -> None:
    assert share_genre(some.split(), others.split()) is shared
