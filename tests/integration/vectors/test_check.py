"""What a check of loaded vectors finds."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.contract import MOVIE_VECTOR_DIM
from recsys.database import Connection
from recsys.errors import (
    VectorError,
)
from recsys.vectors import (
    check,
    check_vectors,
    load_vectors,
)
from tests.vector_tables import (
    MOVIE_TOWERS,
    MOVIE_VECTORS,
    RELEASE,
    TABLE,
    USER_TOWERS,
    load,
    load_towers,
    unit_vectors,
)


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
