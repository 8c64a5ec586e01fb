"""The database that holds the ledger and the vectors: opening a connection, refusing poolers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from recsys.database.failures import (
    TRANSLATED,
    connection_refused,
    invalid_parameter,
    statement_failed,
    unavailable,
)
from recsys.database.session import Connection, apply_settings
from recsys.database.settings import PostgresSettings
from recsys.errors import ConfigurationError, ServiceUnavailableError

_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "recsys",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Parameters of libpq for an address that does not name them itself."""
_ENCODING: Final = "utf8"
"""An account may have another encoding, in which not every title can be written."""
_PROBES: Final = 3
"""Sessions that are compared behind a pooler."""
_PROBE_S: Final = 1.0
_READ_MARK: Final = "select current_setting('recsys.session', true)"


@contextmanager
def connect(settings: PostgresSettings) -> Iterator[Connection]:
    """Opens a connection in autocommit mode; use ``conn.transaction()`` for several statements.

    Raises:
        ServiceUnavailableError: PostgreSQL does not answer, a statement took too long, or the
            connection broke.
        LockedError: another session holds a lock for longer than this one waits.
        TransientError: a conflict with another transaction.
        ConfigurationError: the address is invalid, the server refuses the account or the database,
            or is read-only, or a pooler between gives each transaction another session.
        LedgerError: a table, column or function that a statement needs is missing.
    """
    conn = _open(settings)
    try:
        # The connection is closed at the end, but not before an error has been looked into.
        with conn:
            try:
                _begin_session(conn, settings)
                yield conn
            except TRANSLATED as error:
                raise statement_failed(error, conn) from error
    except psycopg.OperationalError as error:
        raise unavailable(error) from error


def _open(settings: PostgresSettings) -> Connection:
    address = settings.address()
    named = conninfo_to_dict(address)
    defaults = {**_DEFAULTS, "connect_timeout": settings.connect_timeout}
    try:
        return Connection.connect(
            address,
            autocommit=True,
            client_encoding=_ENCODING,
            # Arguments replace what the address says, so only what it leaves out is one.
            **{name: value for name, value in defaults.items() if name not in named},
        )
    except psycopg.OperationalError as error:
        raise connection_refused(error) from error
    except psycopg.ProgrammingError as error:
        # The driver reads some parameters itself, and quotes their values.
        raise invalid_parameter(str(error).partition(":")[0]) from None


def _begin_session(conn: Connection, settings: PostgresSettings) -> None:
    conn.limit_s = settings.statement_timeout
    [(pid, site_role)] = conn.execute(
        "select pg_backend_pid(), current_setting('recsys.site_role', true)"
    ).fetchall()
    # A database whose readers have another role says so, however it is reached.
    conn.site_role = site_role or settings.site_role
    # A pooler gives its clients numbers of its own.
    if pid != conn.info.backend_pid and _shares_sessions(conn, settings):
        raise ConfigurationError(
            "a connection pooler gives each transaction another session of PostgreSQL",
            found="a setting of this session is seen by another client",
            expected="a direct connection, or a pooler in session mode: the promotion lock and the "
            "settings belong to the session",
            hint='use the direct address of the server, or pool_mode "session" for this account',
        )
    apply_settings(conn, settings.statement_timeout)


def _shares_sessions(conn: Connection, settings: PostgresSettings) -> bool:
    """Whether another client of the pooler gets the session of this one, which is still open.

    Poolers hand out first the session that was used last, so a few attempts find it.
    """
    token = secrets.token_hex(8)
    # Another client that sees this value has the same session.
    conn.execute("select set_config('recsys.session', %s, false)", (token,))
    try:
        for _ in range(_PROBES):
            try:
                with _open(settings) as other:
                    other.limit_s = _PROBE_S
                    seen = other.execute(_READ_MARK).fetchone()
            except (ServiceUnavailableError, psycopg.OperationalError):
                # The connection that is open keeps the only session of the pool to itself.
                return False
            if seen == (token,):
                return True
        return conn.execute(_READ_MARK).fetchone() != (token,)
    finally:
        conn.execute("select set_config('recsys.session', '', false)")
