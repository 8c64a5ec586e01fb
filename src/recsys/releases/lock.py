"""The promotion lock: an advisory lock of the PostgreSQL session that commits the switch.

Retirement deletes under a second lock, so that a long deletion does not delay a rollback. A
candidate is copied from its inbox under a lock of its release. One process at a time exports
releases to MLflow.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from recsys.database import Connection
from recsys.errors import LockedError
from recsys.services import Services

PROMOTION_LOCK: Final = 0x5EC5_0002
_DELETION_LOCK: Final = 0x5EC5_0003
_EXPORT_LOCK: Final = 0x5EC5_0004
_ADMISSION_LOCKS: Final = 0x6000_0000
LOCK_WAIT_S: Final = 10.0
# PostgreSQL ends the session of a promoter that hangs or whose machine is gone. The promoter then
# has no lock and cannot commit.
SESSION_SETTINGS: Final = {
    "idle_session_timeout": "10min",
    "idle_in_transaction_session_timeout": "1min",
}


@contextmanager
def promotion_lock(services: Services, wait_s: float = LOCK_WAIT_S) -> Iterator[Connection]:
    """Acquires the promotion lock, which only one process can hold; yields its session.

    The switch is committed in the same session, so a process that loses the lock cannot commit.

    Raises:
        LockedError: another process still holds the lock after ``wait_s`` seconds.
    """
    what = "another promotion, rollback or retirement is running"
    with _session_lock(services, PROMOTION_LOCK, wait_s, what) as conn:
        yield conn


@contextmanager
def deletion_lock(services: Services) -> Iterator[Connection]:
    """Acquires the lock of the process that deletes retiring releases; yields its session.

    It does not delay promotions and rollbacks.

    Raises:
        LockedError: another process still deletes after `LOCK_WAIT_S` seconds.
    """
    what = "another retirement is deleting tables and objects"
    with _session_lock(services, _DELETION_LOCK, LOCK_WAIT_S, what) as conn:
        yield conn


@contextmanager
def export_lock(services: Services) -> Iterator[Connection]:
    """Acquires the lock of the process that exports releases; yields its session.

    Raises:
        LockedError: another process still exports after `LOCK_WAIT_S` seconds.
    """
    what = "another export to MLflow is running"
    with _session_lock(services, _EXPORT_LOCK, LOCK_WAIT_S, what) as conn:
        yield conn


@contextmanager
def admission_lock(services: Services, release_id: str) -> Iterator[Connection]:
    """Acquires the lock of the process that copies a release's candidate; yields its session.

    Raises:
        LockedError: another try still copies it after `LOCK_WAIT_S` seconds.
    """
    what = f"another try of verify_candidate is copying the candidate of release {release_id}"
    # Two releases with the same number wait for each other, which is rare and harmless.
    number = _ADMISSION_LOCKS | (int(release_id[-8:], 16) & 0x0FFF_FFFF)
    with _session_lock(services, number, LOCK_WAIT_S, what) as conn:
        yield conn


@contextmanager
def _session_lock(
    services: Services, number: int, wait_s: float, what: str
) -> Iterator[Connection]:
    with services.connect() as conn:
        for setting in SESSION_SETTINGS.items():
            conn.execute("select set_config(%s, %s, false)", setting)
        deadline = time.monotonic() + wait_s
        while conn.execute("select pg_try_advisory_lock(%s)", (number,)).fetchone() != (True,):
            if time.monotonic() >= deadline:
                raise LockedError(
                    what,
                    found=_lock_holder(conn, number),
                    hint="wait until it has finished; `recsys status` shows it",
                )
            time.sleep(0.1)
        # Closing the session releases the lock, whatever happened meanwhile.
        yield conn


def check_lock(conn: Connection) -> None:
    """Raises psycopg.OperationalError if the session, and with it its lock, is lost.

    Call it before each change in S3, which has no lock: a process that was disconnected must not
    change objects that another one has written since.
    """
    conn.execute("select")


def _lock_holder(conn: Connection, number: int) -> str:
    row = conn.execute(
        "select a.pid, a.application_name, a.backend_start from pg_locks l "
        "join pg_stat_activity a using (pid) "
        "where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.objid = %s "
        "and l.database = (select oid from pg_database where datname = current_database())",
        (number,),
    ).fetchone()
    return (
        "no session anymore"
        if row is None
        else f"session {row[0]} ({row[1]}) since {row[2]:%H:%M:%S}"
    )
