"""A changed table is found by its content, whatever the order of its rows."""

from __future__ import annotations

import numpy as np
import pytest

from recsys import vectors
from recsys.contract import PUBLIC_TABLES, table_name
from recsys.database import Connection
from recsys.vectors import content_is_as_loaded, load_vectors

RELEASE = f"{'a' * 8}-{'b' * 8}"
SEEN = [[3, 1, 2], [], [7], list(range(1, 2000))]
[USERS] = [table for table in PUBLIC_TABLES if table.name == "user_towers"]
NAME = f"recsys.{table_name(USERS.name, RELEASE)}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("", True),
        ("update {} set seen = seen where userid = 1", True),
        ("update {} set seen = '{{3,2,1}}' where userid = 1", False),
        ("update {} set seen = '{{1}}' where userid = 2", False),
        ("update {} set seen = '{{1,NULL}}' where userid = 1", False),
        ("update {} set seen = '{{{{1,2}},{{3,4}}}}' where userid = 1", False),
        ("alter table {0} alter seen drop not null; update {0} set seen = null", False),
        ("update {} set vector = vector + vector where userid = 3", False),
        ("update {} set userid = 9 where userid = 4", False),
        ("delete from {} where userid = 4", False),
        ("truncate {}", False),
    ],
)
def test_a_changed_table_is_found(conn: Connection, change: str, expected: bool) -> None:
    vectors.enable_vector_extension(conn)
    made = np.random.default_rng(1).normal(size=(4, USERS.dimension)).astype(np.float32)
    loaded = load_vectors(conn, USERS, RELEASE, np.arange(1, 5), made, {"seen": SEEN})
    if change:
        conn.execute(change.format(NAME))  # type: ignore[arg-type]
    found = content_is_as_loaded(conn, USERS, RELEASE, digest=loaded.digest, rows=loaded.rows)
    assert found is expected
