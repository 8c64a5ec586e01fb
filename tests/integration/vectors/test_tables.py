"""Loading, checking and searching vectors in a real PostgreSQL with pgvector."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pgvector
import pgvector.psycopg
import polars as pl
import psycopg
import pytest

from recsys import contract
from recsys.contract import MOVIE_VECTOR_DIM, PUBLIC_TABLES, TOWER_DIM
from recsys.database import Connection
from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    LockedError,
    UnknownIdError,
    VectorError,
)
from recsys.vectors import (
    check,
    check_vectors,
    drop_vectors,
    enable_vector_extension,
    index,
    load_vectors,
    nearest_to_movie,
    nearest_to_user,
    read_vectors,
    search,
    tables,
)

MOVIE_VECTORS, USER_TOWERS, MOVIE_TOWERS = PUBLIC_TABLES
RELEASE = "0123abcd-4567cdef"
TABLE = f"recsys.{contract.table_name('movie_vectors', RELEASE)}"
USERS = f"recsys.{contract.table_name('user_towers', RELEASE)}"
MOVIES = f"recsys.{contract.table_name('movie_towers', RELEASE)}"


@pytest.fixture
def conn(postgres_dsn: str) -> Iterator[Connection]:
    with Connection.connect(postgres_dsn, autocommit=True) as connection:
        enable_vector_extension(connection)
        yield connection


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


class TestChecking:
    def test_a_correct_table_is_measured(self, conn: Connection) -> None:
        load(conn, 2000)
        report = check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=2000)

        assert (report.rows, report.dim) == (2000, MOVIE_VECTOR_DIM)
        assert (report.nulls, report.nans, report.zeros) == (0, 0, 0)
        assert report.recall_at_10 is not None
        assert report.recall_at_10 >= 0.95

    def test_a_table_without_an_index_in_the_contract_is_checked_without_one(
        self, conn: Connection
    ) -> None:
        load_towers(conn, 100, [[1], [2]])
        report = check_vectors(conn, USER_TOWERS, RELEASE, expected_rows=2)
        assert report.recall_at_10 is None

    def test_movie_towers_are_queried_with_user_towers(
        self, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load_towers(conn, 500, [[]] * 30)
        assert check.query_table(conn, MOVIE_TOWERS, RELEASE) == USER_TOWERS
        assert check.query_table(conn, MOVIE_VECTORS, RELEASE) == MOVIE_VECTORS
        report = check_vectors(conn, MOVIE_TOWERS, RELEASE, expected_rows=500)
        assert report.recall_at_10 is not None

    def test_equal_vectors_are_interchangeable_in_recall(self, conn: Connection) -> None:
        vectors = unit_vectors(300)
        vectors[:40] = vectors[0]
        load_vectors(conn, MOVIE_VECTORS, RELEASE, np.arange(300), vectors)
        report = check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=300, sample=300)
        assert report.recall_at_10 is not None
        assert report.recall_at_10 >= 0.99

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            ("drop table {t}", "there is no table"),
            ("delete from {t} where movieid = 5", "299 rows instead of 300"),
            ("update {t} set vector = vector - vector where movieid = 5", "1 zero vectors"),
            (
                "alter table {t} alter column vector drop not null;"
                " update {t} set vector = null where movieid = 5",
                "1 nulls",
            ),
            ("drop index {t}_vector_idx", "no valid index"),
            (
                "drop index {t}_vector_idx; create index on {t} using hnsw (vector halfvec_l2_ops)",
                "no valid index",
            ),
            (
                "update pg_index set indisvalid = false where indexrelid ="
                " '{t}_vector_idx'::regclass",
                "no valid index",
            ),
            (
                "drop index {t}_vector_idx; alter table {t} alter column vector type"
                " halfvec(64) using subvector(vector, 1, 64);"
                " create index on {t} using hnsw (vector halfvec_cosine_ops)",
                "dimensions 64 to 64 instead of 128",
            ),
        ],
    )
    def test_a_damaged_table_is_refused(self, conn: Connection, damage: str, message: str) -> None:
        load(conn)
        conn.execute(damage.format(t=TABLE).encode())
        with pytest.raises(VectorError, match=message):
            check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=300)

    def test_an_index_with_a_low_recall_is_refused(
        self, conn: Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(3000, MOVIE_VECTOR_DIM)).astype(np.float32)
        load_vectors(conn, MOVIE_VECTORS, RELEASE, np.arange(3000), vectors)
        conn.execute(f"drop index {TABLE}_vector_idx")
        conn.execute(
            f"create index {TABLE.partition('.')[2]}_vector_idx on {TABLE} using hnsw"
            " (vector halfvec_cosine_ops) with (m = 2, ef_construction = 4)"
        )
        monkeypatch.setattr(check, "SEARCH_WIDTH", 10)
        with pytest.raises(VectorError, match="has a low recall"):
            check_vectors(conn, MOVIE_VECTORS, RELEASE, expected_rows=3000)


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


class TestReading:
    def test_a_parquet_file_of_towers_is_read_as_written(self, tmp_path: Path) -> None:
        vectors = unit_vectors(3, TOWER_DIM)
        frame = pl.DataFrame(
            {
                "id": pl.Series([3, 1, 2], dtype=pl.Int32),
                "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, TOWER_DIM)),
                "seen": pl.Series([[1], [], [2, 3]], dtype=pl.List(pl.Int32)),
            }
        )
        frame.write_parquet(tmp_path / "user_towers.parquet")

        ids, read, extra = read_vectors(tmp_path / "user_towers.parquet")

        assert ids.tolist() == [3, 1, 2]
        np.testing.assert_array_equal(read, vectors, strict=True)
        assert extra["seen"].to_list() == [[1], [], [2, 3]]

    @pytest.mark.parametrize(
        "frame",
        [
            pl.DataFrame({"id": [1]}),
            pl.DataFrame({"id": pl.Series([1], dtype=pl.Int32), "vector": [[0.5, 0.5]]}),
            pl.DataFrame(
                {"id": [1], "vector": pl.Series([[1.0]], dtype=pl.Array(pl.Float32, 1))},
                schema_overrides={"id": pl.Int64},
            ),
            pl.DataFrame(
                {
                    "id": pl.Series([None], dtype=pl.Int32),
                    "vector": pl.Series([[1.0]], dtype=pl.Array(pl.Float32, 1)),
                }
            ),
        ],
    )
    def test_a_parquet_file_with_other_columns_is_refused(
        self, tmp_path: Path, frame: pl.DataFrame
    ) -> None:
        frame.write_parquet(tmp_path / "x.parquet")
        with pytest.raises(ArtifactError, match="not a parquet file of vectors"):
            read_vectors(tmp_path / "x.parquet")

    def test_a_file_of_another_format_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"no parquet")
        with pytest.raises(ArtifactError, match="not a parquet file of vectors"):
            read_vectors(tmp_path / "x.parquet")

    def test_a_file_with_more_rows_than_the_dataset_has_is_refused_before_it_is_read(
        self, tmp_path: Path
    ) -> None:
        """Equal rows compress to almost nothing."""
        rows = pl.DataFrame({"id": pl.repeat(1, 200_000, dtype=pl.Int32, eager=True)})
        rows.write_parquet(tmp_path / "x.parquet")
        assert (tmp_path / "x.parquet").stat().st_size < 10_000
        with pytest.raises(ArtifactError, match="too many vectors"):
            read_vectors(tmp_path / "x.parquet", max_rows=199_999)
