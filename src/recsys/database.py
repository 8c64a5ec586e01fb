"""Connections to PostgreSQL, the database of the ledger and the vectors.

Every statement has a deadline, on both sides. The client's ends a wait for a server or network that
accepts everything and answers nothing, which no setting of TCP detects. The server's ends the
session of a client that is gone, and so releases its locks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigurationError, LedgerError, ServiceUnavailableError

# Less than the time limit of a statement, because its error says what was waited for.
_LOCK_TIMEOUT: Final = "15s"
_GRACE_S: Final = 2.0
"""How much longer than the server the client waits, so that the server's error arrives."""
_SESSION: Final = {
    "lock_timeout": _LOCK_TIMEOUT,
    # Times in files, pages and names do not depend on the reader's time zone.
    "TimeZone": "UTC",
    # The server ends a transaction whose client hangs or is gone.
    "idle_in_transaction_session_timeout": "1min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "10s",
}
_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "recsys",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Parameters of libpq for an address that does not name them itself."""
_REFUSALS: Final = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "certificate verify failed",
    "does not support SSL",
    "no such database",
    "no such user",
)
"""Parts of a server's or pooler's answers to a connection that no later attempt changes."""
_DAMAGES: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.DuplicateTable,
    psycopg.errors.WrongObjectType,
)
"""Errors of statements that are right: somebody dropped or changed what they are about."""
_PROBES: Final = 3
"""Sessions that are compared behind a pooler."""
_PROBE_S: Final = 1.0
_READ_MARK: Final = "select current_setting('recsys.session', true)"


class Connection(psycopg.Connection[Any]):
    """A connection whose statements all end in bounded time.

    Attributes:
        limit_s: how long a statement may take, in seconds.
    """

    limit_s: float = 20.0

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


class PostgresSettings(BaseSettings):
    """Address and credentials of the database: ``RECSYS_PG_DSN``, a libpq URI or string."""

    # Compose and Kubernetes pass unset variables as empty strings. A rejected value may be secret.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_PG_", env_ignore_empty=True, hide_input_in_errors=True
    )

    dsn: SecretStr
    connect_timeout: int = Field(
        default=10, gt=0, description="seconds, unless the address names its own"
    )
    statement_timeout: float = Field(
        default=20.0, gt=0, description="seconds that one statement may take"
    )


@contextmanager
def connect(settings: PostgresSettings) -> Iterator[Connection]:
    """Opens a connection in autocommit mode; use ``conn.transaction()`` for several statements.

    Raises:
        ServiceUnavailableError: PostgreSQL does not answer, or the connection broke.
        ConfigurationError: the server refuses the account or the database, or a pooler between
            gives each transaction another session.
        LedgerError: a table, column or function that a statement needs is missing.
    """
    conn = _open(settings)
    try:
        with conn:
            _begin_session(conn, settings)
            yield conn
    # The second error also ends the session, but is not a subclass of the first.
    except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
        raise _unavailable(error) from error
    except _DAMAGES as error:
        raise LedgerError(
            "the database does not contain what this code has made",
            found=_first_line(error),
            expected="the tables and views of the ledger and of its releases",
            hint="restore them from a backup; `recsys doctor` names what is missing",
        ) from error


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


def _open(settings: PostgresSettings) -> Connection:
    dsn = settings.dsn.get_secret_value()
    defaults = {**_DEFAULTS, "connect_timeout": settings.connect_timeout}
    try:
        named = conninfo_to_dict(dsn)
        return Connection.connect(
            dsn,
            autocommit=True,
            # Arguments replace what the address says, so only what it leaves out is one.
            **{name: value for name, value in defaults.items() if name not in named},
        )
    except psycopg.OperationalError as error:
        if any(part in str(error) for part in _REFUSALS):
            raise ConfigurationError(
                "PostgreSQL refuses the connection",
                found=_first_line(error),
                hint="correct the account, its password, the database's name, or the settings of "
                "TLS, in the connection",
            ) from error
        raise _unavailable(error) from error
    except psycopg.ProgrammingError as error:
        # The text of the error may contain the password.
        raise ConfigurationError(
            "the address of PostgreSQL is invalid",
            expected="a libpq URI such as postgresql://user:password@host:5432/database",
            hint="correct RECSYS_PG_DSN or the connection",
        ) from error


def _begin_session(conn: Connection, settings: PostgresSettings) -> None:
    conn.limit_s = settings.statement_timeout
    row = conn.execute("select pg_backend_pid()").fetchone()
    # A pooler gives its clients numbers of its own.
    if row != (conn.info.backend_pid,) and _shares_sessions(conn, settings):
        raise ConfigurationError(
            "a connection pooler gives each transaction another session of PostgreSQL",
            found="a setting of this session is seen by another client",
            expected="a direct connection, or a pooler in session mode: the promotion lock and the "
            "settings belong to the session",
            hint='use the direct address of the server, or pool_mode "session" for this account',
        )
    values = _SESSION | {"statement_timeout": _milliseconds(settings.statement_timeout)}
    statement = "select " + ", ".join(["set_config(%s, %s, false)"] * len(values))
    conn.execute(statement, [part for setting in values.items() for part in setting])


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


def _set_limit(conn: Connection, seconds: float) -> None:
    conn.execute("select set_config('statement_timeout', %s, false)", (_milliseconds(seconds),))
    conn.limit_s = seconds


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _unavailable(error: psycopg.Error) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        "PostgreSQL does not answer",
        found=_first_line(error),
        expected="an answer from the vector database",
        hint="start it, or correct the connection; `recsys doctor` shows which server is down",
    )
