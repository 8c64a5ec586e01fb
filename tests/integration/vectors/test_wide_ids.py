"""Tables with ids of type bigint; those with ids of type integer stay what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from recsys import vectors
from recsys.contract import NARROW, PUBLIC_TABLES, WIDE, IdBits
from recsys.database import Connection
from recsys.errors import VectorError
from recsys.vectors import content_is_as_loaded, load_vectors, read_vectors, write_table
from recsys.vectors.rows import VectorRows
from recsys.vectors.search import nearest_by_cosine, nearest_to_movie, nearest_to_user
from tests.vector_tables import (
    MOVIE_TOWERS,
    MOVIE_VECTORS,
    MOVIES,
    RELEASE,
    TABLE,
    USER_TOWERS,
    USERS,
    scalar,
    unit_vectors,
)

FIRST = 2**62
LARGEST = 2**63 - 1
BEFORE = {
    "movie_vectors": (
        "25a7efa516b269f81e10297c41ddbaaf1dfbc40c647b7cd1c3a97dc404ccb37e",
        "35f830628a3be7923a18d319fafe3e05d83b7d9187f7874bc66552fdbe2291b9",
    ),
    "user_towers": (
        "0cb95977a37217d3612733110ca328197f2dff72cd783ad72ddf7ee0871f5744",
        "211498388fe312c60759652f1ff11359df86718cbe711e646f7428249169ab88",
    ),
    "movie_towers": (
        "9c5af19d7a3774bb8b179eac2a7f704cc999e286a51acd635434befbc22b801c",
        "04ef52cff25286a44b23ee98cd4ca3b78fdf62c19275f6328c9f82822a9533ac",
    ),
}
"""Digest and sha256 of the bytes for COPY, by code that had ids of 32 bits only."""


def test_tables_of_32_bits_have_the_digests_and_bytes_of_before() -> None:
    rng = np.random.default_rng(7)
    for table in PUBLIC_TABLES:
        made = rng.normal(size=(3, table.dimension)).astype(np.float32)
        extra = {"seen": [[1, 2], [], [2**31 - 1]]} if table.extra_columns else {}
        rows = VectorRows.check(table, np.array([3, 2**31 - 1, 7]), made, extra)
        copied = hashlib.sha256(b"".join(rows.copy_chunks())).hexdigest()
        assert (rows.digest, copied) == BEFORE[table.name]
        wide = VectorRows.check(table.with_ids(WIDE), np.array([3, 2**31 - 1, 7]), made, extra)
        assert wide.digest != rows.digest


@pytest.mark.parametrize("bits", [NARROW, WIDE])
def test_a_table_is_read_as_it_was_loaded(conn: Connection, tmp_path: Path, bits: IdBits) -> None:
    vectors.enable_vector_extension(conn)
    largest = LARGEST if bits == WIDE else 2**31 - 1
    ids = np.array([1, largest - 1, 5, largest])
    seen = [[largest, 1, largest - 1], [], [7], list(range(largest - 2000, largest))]
    made = unit_vectors(4, USER_TOWERS.dimension)
    table = USER_TOWERS.with_ids(bits)
    loaded = load_vectors(conn, table, RELEASE, ids, made, {"seen": seen})
    known = {"digest": loaded.digest, "rows": loaded.rows}

    assert scalar(conn, f"select max(userid) from {USERS}") == largest
    assert scalar(conn, f"select seen[1] from {USERS} where userid = 1") == largest
    assert scalar(conn, f"select pg_typeof(seen)::text from {USERS} limit 1") == (
        "bigint[]" if bits == WIDE else "integer[]"
    )
    # The type is that of the stored table, whatever the caller knows.
    assert content_is_as_loaded(conn, USER_TOWERS, RELEASE, **known)
    write_table(conn, USER_TOWERS, RELEASE, tmp_path / "users", **known)
    read, _, extra = read_vectors(tmp_path / "users")
    assert (read.dtype, read.tolist()) == (np.dtype(f"i{bits // 8}"), ids.tolist())
    assert extra["seen"].to_list() == seen

    conn.execute(f"update {USERS} set seen[2] = 2 where userid = 1")  # type: ignore[arg-type]
    assert not content_is_as_loaded(conn, USER_TOWERS, RELEASE, **known)


def test_a_table_whose_ids_got_another_type_has_changed(conn: Connection) -> None:
    vectors.enable_vector_extension(conn)
    loaded = load_vectors(conn, MOVIE_VECTORS, RELEASE, np.arange(1, 50), unit_vectors(49))
    known = {"digest": loaded.digest, "rows": loaded.rows}
    assert content_is_as_loaded(conn, MOVIE_VECTORS, RELEASE, **known)
    conn.execute(f"alter table {TABLE} alter movieid type bigint")  # type: ignore[arg-type]
    assert not content_is_as_loaded(conn, MOVIE_VECTORS, RELEASE, **known)
    # A table of the same release is loaded anew if the build's ids have another width.
    wide = load_vectors(
        conn, MOVIE_VECTORS.with_ids(WIDE), RELEASE, np.arange(1, 50), unit_vectors(49)
    )
    assert (wide.loaded, wide.digest == loaded.digest) == (True, False)


def test_long_ids_are_refused_for_a_table_of_short_ones(conn: Connection) -> None:
    vectors.enable_vector_extension(conn)
    with pytest.raises(VectorError, match="out of range") as refused:
        load_vectors(conn, MOVIE_VECTORS, RELEASE, np.array([1, 2**31]), unit_vectors(2))
    assert "features.id_bits" in str(refused.value)
    made = unit_vectors(1, USER_TOWERS.dimension)
    with pytest.raises(VectorError, match="not a column of lists of integers"):
        load_vectors(conn, USER_TOWERS, RELEASE, np.array([1]), made, {"seen": [[2**31]]})


def test_searches_leave_out_what_was_seen(conn: Connection) -> None:
    vectors.enable_vector_extension(conn)
    movies = FIRST + np.arange(300)
    seen = movies[:200].tolist()
    made = unit_vectors(300, MOVIE_TOWERS.dimension)
    load_vectors(
        conn, USER_TOWERS.with_ids(WIDE), RELEASE, np.array([LARGEST]), made[:1], {"seen": [seen]}
    )
    load_vectors(conn, MOVIE_TOWERS.with_ids(WIDE), RELEASE, movies, made)
    load_vectors(conn, MOVIE_VECTORS.with_ids(WIDE), RELEASE, movies, unit_vectors(300))

    found = [movie for movie, _ in nearest_to_user(conn, USERS, MOVIES, LARGEST, 300)]
    order = np.argsort(-(made[200:].astype(np.float16) @ made[0].astype(np.float16)))
    assert sorted(found) == movies[200:].tolist()
    assert len(set(found[:10]) & set(movies[200:][order[:12]].tolist())) >= 9
    alike = [movie for movie, _ in nearest_to_movie(conn, TABLE, FIRST + 7, 299)]
    assert sorted(alike) == [m for m in movies.tolist() if m != FIRST + 7]
    vector = unit_vectors(300)[7]
    near = [movie for movie, _ in nearest_by_cosine(conn, TABLE, vector, [FIRST + 7], 10)]
    assert near == alike[:10]
    assert vectors.check_vectors(
        conn, MOVIE_VECTORS, RELEASE, expected_rows=300
    ).recall_at_10 == pytest.approx(1, abs=0.05)
