"""The append-only records of forward tests: a release on ratings newer than its dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from recsys.database import Connection
from recsys.gate import ForwardTest


@dataclass(frozen=True)
class RecordedForwardTest:
    """A forward test, and when it was recorded by which run."""

    test: ForwardTest
    run_id: str
    at: datetime


def record_forward_test(conn: Connection, run_id: str, test: ForwardTest) -> bool:
    """Stores a test; returns False if the release was tested on this dataset before."""
    added = conn.execute(
        "insert into recsys.forward_tests (run_id, release_id, dataset_md5, was_champion, test) "
        "values (%s, %s, %s, %s, %s) on conflict (release_id, dataset_md5) do nothing",
        (
            run_id,
            test.release_id,
            test.dataset_md5,
            test.was_champion,
            Jsonb(test.model_dump(mode="json")),
        ),
    )
    return added.rowcount == 1


def forward_tests(
    conn: Connection,
    *,
    release_id: str | None = None,
    dataset_md5: str | None = None,
    limit: int = 1000,
) -> list[RecordedForwardTest]:
    """Returns the newest tests, newest first; only a release's or a dataset's if it is given."""
    rows = conn.execute(
        "select test, run_id, at from recsys.forward_tests "
        "where (%(release)s::text is null or release_id = %(release)s) "
        "and (%(dataset)s::text is null or dataset_md5 = %(dataset)s) "
        "order by id desc limit %(limit)s",
        {"release": release_id, "dataset": dataset_md5, "limit": limit},
    ).fetchall()
    return [RecordedForwardTest(ForwardTest.model_validate(test), *more) for test, *more in rows]


def newest_forward_tests(conn: Connection) -> list[RecordedForwardTest]:
    """Returns the tests on the dataset that was tested last, newest first; empty before that."""
    newest = forward_tests(conn, limit=1)
    return forward_tests(conn, dataset_md5=newest[0].test.dataset_md5) if newest else []
