"""Searching vectors in a real PostgreSQL with pgvector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pgvector
import pgvector.psycopg
import pytest

from recsys.contract import TOWER_DIM
from recsys.database import Connection
from recsys.errors import (
    UnknownIdError,
)
from recsys.vectors import (
    load_vectors,
    nearest_to_movie,
    nearest_to_user,
    search,
)
from tests.vector_tables import (
    MOVIE_TOWERS,
    MOVIE_VECTORS,
    MOVIES,
    RELEASE,
    TABLE,
    USER_TOWERS,
    USERS,
    load,
    load_towers,
    scalar,
    unit_vectors,
)


class TestSearching:
    def test_nearest_to_movie_is_exact_and_leaves_out_the_movie(self, conn: Connection) -> None:
        vectors = unit_vectors(500)
        load_vectors(conn, MOVIE_VECTORS, RELEASE, np.arange(1, 501), vectors)
        found = nearest_to_movie(conn, TABLE, 17, 10)

        cosines = vectors @ vectors[16]
        cosines[16] = -1
        expected = np.argsort(-cosines)[:10]
        assert [movie for movie, _ in found] == (expected + 1).tolist()
        assert [score for _, score in found] == pytest.approx(cosines[expected], abs=2e-3)

    def test_nearest_to_movie_returns_all_others_if_k_is_larger(self, conn: Connection) -> None:
        load(conn, 400)
        found = nearest_to_movie(conn, TABLE, 1, 1000)
        assert sorted(movie for movie, _ in found) == list(range(2, 401))
        assert nearest_to_movie(conn, TABLE, 1, 0) == []

    def test_a_table_of_one_movie_has_no_neighbors(self, conn: Connection) -> None:
        load(conn, 1)
        assert nearest_to_movie(conn, TABLE, 1, 5) == []

    @pytest.mark.parametrize("share_seen", [0.0, 0.5, 0.99, 1.0])
    def test_nearest_to_user_is_exact_and_leaves_out_rated_movies(
        self, conn: Connection, share_seen: float
    ) -> None:
        n = 3000
        rng = np.random.default_rng(2)
        users = unit_vectors(1, TOWER_DIM)
        movies = unit_vectors(n, TOWER_DIM, 1)
        best_first = np.argsort(-(movies @ users[0])) + 1
        # The user rated the best-scoring movies: the hardest case for a filtered index scan.
        seen = best_first[: int(n * share_seen)]
        load_vectors(
            conn, USER_TOWERS, RELEASE, np.array([1]), users, {"seen": [rng.permutation(seen)]}
        )
        load_vectors(conn, MOVIE_TOWERS, RELEASE, np.arange(1, n + 1), movies)

        found = nearest_to_user(conn, USERS, MOVIES, 1, 10)

        left = best_first[len(seen) :][:10]
        assert len(found) == len(left)
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
        assert not {movie for movie, _ in found} & set(seen.tolist())
        assert len({movie for movie, _ in found} & set(left.tolist())) >= 0.9 * len(left)

    def test_a_short_index_scan_is_followed_by_an_exact_scan(
        self, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load_towers(conn, 3000, [list(range(1, 2991))])

        def end_early(conn: Connection, width: int) -> None:
            conn.execute("select set_config('enable_seqscan', 'off', true)")

        monkeypatch.setattr(search, "set_search_width", end_early)
        found = nearest_to_user(conn, USERS, MOVIES, 1, 10)
        assert sorted(movie for movie, _ in found) == list(range(2991, 3001))

    def test_unknown_ids_are_in_the_error(self, conn: Connection) -> None:
        load(conn)
        load_towers(conn, 20, [[1]])
        with pytest.raises(UnknownIdError, match="movieId 999"):
            nearest_to_movie(conn, TABLE, 999, 5)
        with pytest.raises(UnknownIdError, match="userId 999"):
            nearest_to_user(conn, USERS, MOVIES, 999, 5)

    @pytest.mark.parametrize("relation", ["a;b", 'a"b', "A", "a.b.c", "", "a.", "x" * 64])
    def test_invalid_names_never_reach_sql(self, conn: Connection, relation: str) -> None:
        with pytest.raises(ValueError, match="not the name"):
            nearest_to_movie(conn, relation, 1, 5)
        with pytest.raises(ValueError, match="not the name"):
            nearest_to_user(conn, relation, relation, 1, 5)

    def test_settings_of_a_search_end_with_its_transaction(self, conn: Connection) -> None:
        load(conn)
        before = scalar(conn, "show enable_indexscan"), scalar(conn, "show hnsw.ef_search")
        nearest_to_movie(conn, TABLE, 1, 1000)
        assert before == (
            scalar(conn, "show enable_indexscan"),
            scalar(conn, "show hnsw.ef_search"),
        )

    @pytest.mark.parametrize("kind", ["text", "text parameter", "ndarray", "Vector", "HalfVector"])
    def test_a_view_uses_the_index_for_every_parameter_type(
        self, conn: Connection, kind: str
    ) -> None:
        vectors = unit_vectors(2000)
        load_vectors(conn, MOVIE_VECTORS, RELEASE, np.arange(2000), vectors)
        conn.execute(f"create view public.movie_vectors as select * from {TABLE}")
        pgvector.psycopg.register_vector(conn)
        text = str(vectors[3].tolist())
        given: Any = {
            "text": None,
            "text parameter": text,
            "ndarray": vectors[3],
            "Vector": pgvector.Vector(vectors[3]),
            "HalfVector": pgvector.HalfVector(vectors[3]),
        }[kind]
        place = f"'{text}'" if given is None else "%s"
        query = f"select movieid from movie_vectors order by vector <=> {place} limit 5"
        parameters = None if given is None else (given,)

        plan = " ".join(row[0] for row in conn.execute(f"explain {query}".encode(), parameters))
        found = [row[0] for row in conn.execute(query.encode(), parameters)]

        assert "vector_idx" in plan
        assert found == np.argsort(-(vectors @ vectors[3]))[:5].tolist()
