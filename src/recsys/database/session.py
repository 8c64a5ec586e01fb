"""Sessions of PostgreSQL: their settings, and a deadline for every statement, on both sides.

The client's deadline ends a wait for a server or network that accepts everything and answers
nothing, which no setting of TCP detects. The server's ends the session of a client that is gone,
and so releases its locks.

Administrators set other values for an account or a database (``ALTER ROLE ... SET``). What this
code relies on is therefore set in each session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen

from recsys.contract import SITE_ROLE

# Less than the time limit of a statement, because its error says what was waited for.
_LOCK_TIMEOUT: Final = "15s"
_GRACE_S: Final = 2.0
"""How much longer than the server the client waits, so that the server's error arrives."""
_SETTINGS: Final = {
    "lock_timeout": _LOCK_TIMEOUT,
    # Times in files, pages and names do not depend on the reader's time zone.
    "TimeZone": "UTC",
    # The server ends a transaction whose client hangs or is gone.
    "idle_in_transaction_session_timeout": "1min",
    # Statements have limits of their own, and a session waits while objects are copied in S3.
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    # psycopg reads times in no other style, and vectors must not be rounded.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    # Building an index reads notices.
    "client_min_messages": "notice",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "10s",
}
_SETTINGS_SINCE: Final = {"transaction_timeout": (170_000, "0")}
"""Settings that older servers do not have, with the first version that does."""


class Connection(psycopg.Connection[Any]):
    """A connection whose statements all end in bounded time.

    Attributes:
        limit_s: how long a statement may take, in seconds.
        site_role: the role whose members read the releases in this database.
    """

    limit_s: float = 20.0
    site_role: str = SITE_ROLE

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Waits as psycopg does, and closes the connection when the limit has passed."""
        limit = self.limit_s + _GRACE_S if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit)
        except psycopg.errors._WaitTimeout as error:
            if timeout is not None:
                raise
            # What the server is doing is unknown, so this connection is of no more use.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {limit:.0f} s") from error


def apply_settings(conn: Connection, statement_timeout: float) -> None:
    """Sets what this code relies on, whatever the account or the database has.

    Args:
        conn: a new connection in autocommit mode.
        statement_timeout: seconds that one statement may take.
    """
    newer = {
        name: value
        for name, (version, value) in _SETTINGS_SINCE.items()
        if conn.info.server_version >= version
    }
    values = _SETTINGS | newer | {"statement_timeout": _milliseconds(statement_timeout)}
    statement = "select " + ", ".join(["set_config(%s, %s, false)"] * len(values))
    conn.execute(statement, [part for setting in values.items() for part in setting])


@contextmanager
def long_statement(conn: Connection, seconds: float) -> Iterator[None]:
    """Gives the statements inside at least ``seconds`` each, such as the making of an index."""
    before = conn.limit_s
    _set_limit(conn, max(before, seconds))
    try:
        yield
    except BaseException:
        # The transaction that failed takes the server's limit back.
        conn.limit_s = before
        raise
    _set_limit(conn, before)


def _set_limit(conn: Connection, seconds: float) -> None:
    conn.execute("select set_config('statement_timeout', %s, false)", (_milliseconds(seconds),))
    conn.limit_s = seconds


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
