"""The promotion lock: one promoter in the world, whose session is also the one that commits."""

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
# A promoter that hangs, between statements or in a transaction, or whose machine is gone, loses
# its session, and with it the lock and the right to commit.
_SESSION: Final = {
    "idle_session_timeout": "10min",
    "idle_in_transaction_session_timeout": "1min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@contextmanager
def promotion_lock(services: Services, wait_s: float = LOCK_WAIT_S) -> Iterator[Connection]:
    """The session that holds the promotion lock: one promoter in the world.

    The lock belongs to the session that also commits the switch, so whoever loses the lock has
    lost the right to commit as well.

    Raises:
        LockedError: somebody else still holds the lock after ``wait_s`` seconds.
    """
    with services.connect() as conn:
        for setting in _SESSION.items():
            conn.execute("select set_config(%s, %s, false)", setting)
        deadline = time.monotonic() + wait_s
        while conn.execute("select pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
            if time.monotonic() >= deadline:
                raise LockedError(
                    "another promotion, rollback or retirement is at work",
                    found=_lock_holder(conn),
                    hint="wait for it, or look at it with `recsys status`",
                )
            time.sleep(0.1)
        # Closing the session gives the lock back, whatever has happened inside.
        yield conn


def check_lock(conn: Connection) -> None:
    """Raises psycopg.OperationalError if the session, and so the promotion lock, is lost.

    Asked before S3 is changed, which knows of no lock: a promoter that was given up long ago must
    not touch what others have made since.
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
        "nobody any more" if row is None else f"session {row[0]} ({row[1]}) since {row[2]:%H:%M:%S}"
    )
