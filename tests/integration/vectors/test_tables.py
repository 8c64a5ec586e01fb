"""Loading and dropping vectors in a real PostgreSQL with pgvector."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pgvector
import pgvector.psycopg
import polars as pl
import psycopg
import pytest

from recsys import contract
from recsys.contract import MOVIE_VECTOR_DIM, TOWER_DIM
from recsys.database import Connection
from recsys.errors import (
    ConfigurationError,
    LockedError,
    VectorError,
)
from recsys.vectors import (
    check_vectors,
    drop_vectors,
    enable_vector_extension,
    index,
    load_vectors,
    tables,
)
from tests.vector_tables import (
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


class TestEnabling:
    def test_the_extension_is_created_in_public_for_any_search_path(
        self, postgres_dsn: str
    ) -> None:
        with Connection.connect(postgres_dsn, autocommit=True) as conn:
            conn.execute("create schema recsys_live")
            conn.execute("set search_path = recsys_live, public")
            enable_vector_extension(conn)
            enable_vector_extension(conn)
            schema = scalar(
                conn,
                "select extnamespace::regnamespace::text from pg_extension"
                " where extname = 'vector'",
            )
            assert schema == "public"
            assert scalar(conn, "select to_regnamespace('recsys') is not null")

    def test_concurrent_sessions_may_enable_it(self, postgres_dsn: str) -> None:
        failures: list[Exception] = []

        def enable() -> None:
            try:
                with Connection.connect(postgres_dsn, autocommit=True) as conn:
                    enable_vector_extension(conn)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=enable) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_an_older_pgvector_is_refused(
        self, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tables, "MIN_PGVECTOR", (99, 0, 0))
        with (
            Connection.connect(postgres_dsn, autocommit=True) as conn,
            pytest.raises(ConfigurationError, match="too old"),
        ):
            enable_vector_extension(conn)

    def test_a_role_without_the_privilege_gets_an_error_that_names_the_command(
        self, postgres_dsn: str
    ) -> None:
        with Connection.connect(postgres_dsn, autocommit=True) as conn:
            name = f"weak_{scalar(conn, 'select current_database()')}"
            conn.execute(f"create role {name}")
            conn.execute("create schema recsys")
            try:
                conn.execute(f"set role {name}")
                with pytest.raises(ConfigurationError, match="may not create the extension"):
                    enable_vector_extension(conn)
            finally:
                conn.execute("reset role")
                conn.execute(f"drop role {name}")


class TestLoading:
    def test_rows_are_stored_as_given(self, conn: Connection) -> None:
        ids = np.array([7, -3, 2**31 - 1, 0])
        vectors = unit_vectors(4)
        loaded = load_vectors(conn, MOVIE_VECTORS, RELEASE, ids, vectors)

        pgvector.psycopg.register_vector(conn)
        stored = dict(conn.execute(f"select movieid, vector from {TABLE}").fetchall())
        assert (loaded.rows, loaded.dim, loaded.loaded) == (4, MOVIE_VECTOR_DIM, True)
        assert sorted(stored) == sorted(ids.tolist())
        for movie_id, vector in zip(ids.tolist(), vectors, strict=True):
            np.testing.assert_array_equal(
                stored[movie_id].to_numpy(), vector.astype(np.float16), strict=True
            )

    @pytest.mark.parametrize("as_series", [False, True])
    def test_lists_of_seen_movies_are_stored_in_order(
        self, conn: Connection, as_series: bool
    ) -> None:
        rng = np.random.default_rng(4)
        seen = [rng.permutation(n).tolist() for n in (0, 3, 1, 2000, 0)]
        extra: Any = pl.Series(seen, dtype=pl.List(pl.Int32)) if as_series else seen
        load_vectors(
            conn, USER_TOWERS, RELEASE, np.arange(5), unit_vectors(5, TOWER_DIM), {"seen": extra}
        )
        stored = dict(conn.execute(f"select userid, seen from {USERS}").fetchall())
        assert stored == dict(enumerate(seen))

    def test_rows_of_several_chunks_are_all_stored(self, conn: Connection) -> None:
        n = 20_000
        load_vectors(
            conn,
            USER_TOWERS,
            RELEASE,
            np.arange(n),
            unit_vectors(n, TOWER_DIM),
            {"seen": [[i] for i in range(n)]},
        )
        assert scalar(conn, f"select count(*) from {USERS} where seen = array[userid]") == n

    def test_a_table_with_the_same_content_is_left_unchanged(self, conn: Connection) -> None:
        first = load(conn)
        oid = scalar(conn, "select %s::regclass::oid", TABLE)
        second = load(conn)

        assert (first.loaded, second.loaded) == (True, False)
        assert first.digest == second.digest
        assert scalar(conn, "select %s::regclass::oid", TABLE) == oid

    def test_a_table_with_other_content_is_replaced(self, conn: Connection) -> None:
        first = load(conn, 300)
        second = load(conn, 200, seed=1)

        assert second.loaded
        assert second.digest != first.digest
        check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=200)

    def test_the_digest_depends_on_ids_vectors_and_lists(self, conn: Connection) -> None:
        def digest(first_id: int, seed: int, seen: list[list[int]]) -> str:
            return load_vectors(
                conn,
                USER_TOWERS,
                RELEASE,
                np.arange(first_id, first_id + 2),
                unit_vectors(2, TOWER_DIM, seed),
                {"seen": seen},
            ).digest

        digests = [
            digest(1, 0, [[1], [2, 3]]),
            digest(2, 0, [[1], [2, 3]]),
            digest(1, 1, [[1], [2, 3]]),
            digest(1, 0, [[1, 2], [3]]),
            digest(1, 0, [[1], [3, 2]]),
        ]
        assert len(set(digests)) == 5

    def test_a_failed_load_leaves_the_old_table(
        self, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(conn, 300)

        def fail(*_: Any) -> None:
            raise RuntimeError

        monkeypatch.setattr(tables, "build_index", fail)
        with pytest.raises(RuntimeError):
            load(conn, 200, seed=1)
        check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=300)

    def test_an_unrelated_table_of_the_same_name_is_replaced(self, conn: Connection) -> None:
        conn.execute(f"create table {TABLE} (x integer)")
        conn.execute(f"comment on table {TABLE} is 'no JSON'")
        assert load(conn).loaded

    def test_two_loaders_of_the_same_release_end_with_one_table(self, postgres_dsn: str) -> None:
        outcomes: list[bool] = []

        def run() -> None:
            with Connection.connect(postgres_dsn, autocommit=True) as conn:
                enable_vector_extension(conn)
                outcomes.append(load(conn, 2000).loaded)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False, False, True]

    def test_a_table_used_by_a_public_name_is_not_replaced(self, conn: Connection) -> None:
        load(conn)
        conn.execute(f"create view public.movie_vectors as select * from {TABLE}")
        with pytest.raises(VectorError, match="used by the public names"):
            load(conn, seed=1)
        assert not load(conn).loaded

    def test_a_table_locked_for_too_long_is_a_transient_error(
        self, conn: Connection, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(conn)
        monkeypatch.setattr(tables, "LOCK_TIMEOUT", "50ms")
        with psycopg.connect(postgres_dsn) as reader:
            reader.execute(f"select count(*) from {TABLE}")
            with pytest.raises(LockedError):
                load(conn, seed=1)
            with pytest.raises(LockedError):
                drop_vectors(conn, RELEASE)
        assert load(conn, seed=1).loaded

    def test_an_index_that_does_not_fit_into_memory_is_an_error(
        self, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index, "index_memory_mb", lambda *_: 1)
        with pytest.raises(VectorError, match="did not fit into memory"):
            load(conn, 3000)
        assert scalar(conn, "select to_regclass(%s)", TABLE) is None

    def test_the_index_is_built_without_workers_if_shared_memory_is_short(
        self, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index, "PARALLEL_FROM_ROWS", 1)
        # Workers would reserve two terabytes of shared memory, which fails; one process needs none.
        monkeypatch.setattr(index, "index_memory_mb", lambda *_: 2_000_000)
        load(conn, 1000)
        check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=1000)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"ids": np.array([1, 2, 2])}, "not unique"),
            ({"ids": np.array([1, 2])}, "wrong shape"),
            ({"ids": np.array([1, 2, 2**31])}, "out of range"),
            ({"ids": np.array([1.0, 2.0, 3.0])}, "not a list of integers"),
            ({"ids": np.array([], np.int32), "vectors": unit_vectors(0)}, "no vectors"),
            ({"vectors": unit_vectors(3, 64)}, "wrong shape"),
            ({"vectors": np.ones((3, MOVIE_VECTOR_DIM), np.int64)}, "wrong shape"),
            ({"vectors": unit_vectors(3) * np.nan}, "NaN"),
            ({"vectors": unit_vectors(3) * 1e9}, "too large"),
            ({"vectors": unit_vectors(3) * [[1], [0], [1]]}, "length 0"),
            ({"vectors": unit_vectors(3) * 1e-12}, "length 0"),
            ({"extra": {"seen": [[1], [2], [3]]}}, "wrong extra columns"),
            ({"table": USER_TOWERS}, "wrong extra columns"),
            ({"table": USER_TOWERS, "extra": {"seen": [[1], [2]]}}, "wrong number of lists"),
            ({"table": USER_TOWERS, "extra": {"seen": [[1], None, [3]]}}, "wrong number of lists"),
            ({"table": USER_TOWERS, "extra": {"seen": [[1], [None], [3]]}}, "nulls inside"),
            (
                {"table": USER_TOWERS, "extra": {"seen": [["x"], [], []]}},
                "not a column of lists of integers",
            ),
            (
                {"table": USER_TOWERS, "extra": {"seen": [[2**40], [], []]}},
                "not a column of lists of integers",
            ),
        ],
    )
    def test_wrong_rows_are_refused_before_anything_is_written(
        self, conn: Connection, change: dict[str, Any], message: str
    ) -> None:
        table = change.get("table", MOVIE_VECTORS)
        given = {
            "table": table,
            "ids": np.array([1, 2, 3]),
            "vectors": unit_vectors(3, table.dimension),
        } | change
        with pytest.raises(VectorError, match=message):
            load_vectors(conn, release_id=RELEASE, **given)
        assert scalar(conn, "select count(*) from pg_tables where schemaname = 'recsys'") == 0

    @pytest.mark.parametrize("release_id", ["x", "0123abcd-4567cdef; drop table x", ""])
    def test_an_invalid_release_id_never_reaches_sql(
        self, conn: Connection, release_id: str
    ) -> None:
        with pytest.raises(ValueError, match="not a release id"):
            load_vectors(conn, MOVIE_VECTORS, release_id, np.array([1]), unit_vectors(1))


class TestDropping:
    def test_all_tables_of_the_release_are_dropped_and_no_other(self, conn: Connection) -> None:
        load(conn)
        load_towers(conn, 20, [[1]])
        other = "ffffffff-00000000"
        load_vectors(conn, MOVIE_VECTORS, other, np.array([1]), unit_vectors(1))

        drop_vectors(conn, RELEASE)
        drop_vectors(conn, RELEASE)

        left = conn.execute("select tablename from pg_tables where schemaname = 'recsys'")
        assert [row[0] for row in left] == [contract.table_name("movie_vectors", other)]

    def test_no_table_of_a_release_with_public_names_is_dropped(self, conn: Connection) -> None:
        load(conn)
        load_towers(conn, 20, [[1]])
        conn.execute(f"create view public.movie_towers as select * from {MOVIES}")
        with pytest.raises(VectorError, match="used by the public names"):
            drop_vectors(conn, RELEASE)
        assert scalar(conn, "select count(*) from pg_tables where schemaname = 'recsys'") == 3
