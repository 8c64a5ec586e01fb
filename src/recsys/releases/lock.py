"""The promotion lock: an advisory lock of the PostgreSQL session that commits the switch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from recsys.database import Connection
from recsys.errors import LockedError
from recsys.services import Services

_LOCK: Final = 0x5EC5_0002
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
    with services.connect() as conn:
        for setting in SESSION_SETTINGS.items():
            conn.execute("select set_config(%s, %s, false)", setting)
        deadline = time.monotonic() + wait_s
        while conn.execute("select pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
            if time.monotonic() >= deadline:
                raise LockedError(
                    "another promotion, rollback or retirement is running",
                    found=_lock_holder(conn),
                    hint="wait until it has finished; `recsys status` shows it",
                )
            time.sleep(0.1)
        # Closing the session releases the lock, whatever happened meanwhile.
        yield conn


def check_lock(conn: Connection) -> None:
    """Raises psycopg.OperationalError if the session, and with it the promotion lock, is lost.

    Call it before each change in S3, which has no lock: a promoter that was disconnected must not
    change objects that another one has written since.
    """
    conn.execute("select")


def _lock_holder(conn: Connection) -> str:
    row = conn.execute(
        "select a.pid, a.application_name, a.backend_start from pg_locks l "
        "join pg_stat_activity a using (pid) "
        "where l.locktype = 'advisory' and l.granted and l.objid = %s "
        "and l.database = (select oid from pg_database where datname = current_database())",
        (_LOCK,),
    ).fetchone()
    return (
        "no session anymore"
        if row is None
        else f"session {row[0]} ({row[1]}) since {row[2]:%H:%M:%S}"
    )
