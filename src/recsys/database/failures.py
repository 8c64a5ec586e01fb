"""Errors of PostgreSQL, each named as what it is: who has to act, and whether a retry helps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import errors, sql

from recsys.database.session import Connection
from recsys.errors import (
    ConfigurationError,
    LedgerError,
    LockedError,
    RecsysError,
    ServiceUnavailableError,
    TransientError,
)

_REFUSALS: Final = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "does not support SSL",
    "no such database",
    "no such user",
    "local user with ID",
)
"""Parts of a server's or pooler's answers to a connection that no later attempt changes."""
_UNTRUSTED: Final = ("certificate verify failed", "root certificate file", "does not match host")
_FULL: Final = (
    "too many connections",
    "too many clients",
    "remaining connection slots",
    "no more connections allowed",
)

_INVALID: Final = re.compile(r'(^|bad: )invalid ([\w ]+ value: "|port number: "|integer value ")')
"""What libpq says of a parameter that it understands and whose value it does not."""
_ANSWER: Final = re.compile(r"failed: [^\s:]+ ?: {2}")
"""How an answer of the server begins in any language: its severity, a colon and two blanks."""


@dataclass(frozen=True)
class _Kind:
    """A kind of failed statement: the errors of psycopg, and ours.

    Attributes:
        causes: errors of psycopg.
        error: the class of our error.
        message: what happened.
        hint: what to do about it.
        part: a part of the server's text that decides; empty if any text does.
    """

    causes: tuple[type[psycopg.Error], ...]
    error: type[RecsysError]
    message: str
    hint: str
    part: str = ""

    def covers(self, error: psycopg.Error) -> bool:
        return isinstance(error, self.causes) and self.part in str(error)


_KINDS: Final = (
    _Kind(
        (errors.QueryCanceled,),
        ServiceUnavailableError,
        "a statement took longer than its time limit in PostgreSQL",
        "pg_stat_activity shows what the server is busy with; for a slow server raise "
        "RECSYS_PG_STATEMENT_TIMEOUT",
        part="statement timeout",
    ),
    _Kind(
        (errors.QueryCanceled,),
        TransientError,
        "a statement was canceled in PostgreSQL",
        "somebody called pg_cancel_backend, or it took longer than statement_timeout; repeat the "
        "command",
    ),
    _Kind(
        (errors.LockNotAvailable,),
        LockedError,
        "another session holds a lock in the database",
        "pg_locks shows which; end it, or repeat the command later",
    ),
    _Kind(
        (
            errors.IdleInTransactionSessionTimeout,
            errors.IdleSessionTimeout,
            errors.TransactionTimeout,
        ),
        ServiceUnavailableError,
        "PostgreSQL ended the session, because this process left it waiting",
        "this process or its machine was suspended or too busy; repeat the command",
    ),
    _Kind(
        (errors.SerializationFailure, errors.DeadlockDetected),
        TransientError,
        "two transactions changed the same rows in PostgreSQL",
        "repeat the command",
    ),
    _Kind(
        (errors.ConfigurationLimitExceeded,),
        ConfigurationError,
        "a limit of PostgreSQL ends a statement",
        "raise the limit for this account: ALTER ROLE ... SET temp_file_limit = ...",
    ),
    _Kind(
        (errors.DiskFull,),
        ServiceUnavailableError,
        "the disk of PostgreSQL is full",
        "free space on its disk, then repeat the command",
    ),
    _Kind(
        (errors.OutOfMemory,),
        ServiceUnavailableError,
        "PostgreSQL has too little memory",
        "see its log; a hint of max_locks_per_transaction there names the setting",
    ),
    _Kind(
        (
            errors.UndefinedTable,
            errors.UndefinedColumn,
            errors.UndefinedFunction,
            errors.InvalidSchemaName,
            errors.DuplicateTable,
            errors.WrongObjectType,
        ),
        # The statement is right: somebody dropped or changed what it is about.
        LedgerError,
        "the database does not contain what this code has made: the tables and views of the "
        "ledger and of its releases",
        "restore them from a backup; `recsys doctor` names what is missing",
    ),
)
TRANSLATED: Final[tuple[type[psycopg.Error], ...]] = (
    psycopg.OperationalError,
    errors.ReadOnlySqlTransaction,
    errors.InsufficientPrivilege,
    *(cause for kind in _KINDS for cause in kind.causes),
)
"""Errors of statements that `statement_failed` translates."""
_OBJECT: Final = re.compile(
    r"(database|schema|extension|table|view|sequence|function|relation) \"?([^\"]+?)\"?$"
)
_READ_ONLY: Final = """
select pg_is_in_recovery(),
       (select source from pg_settings where name = 'default_transaction_read_only')
"""


def connection_refused(error: psycopg.OperationalError) -> RecsysError:
    """Returns the error of a connection that could not be opened."""
    text = str(error)
    if _INVALID.search(text):
        return invalid_parameter(first_line(error))
    if any(part in text for part in _UNTRUSTED):
        return ConfigurationError(
            "the certificate of PostgreSQL is not trusted",
            found=first_line(error),
            hint="name the file of its certificate authority in PGSSLROOTCERT, or as sslrootcert "
            "in the address",
        )
    if any(part in text for part in _REFUSALS):
        return ConfigurationError(
            "PostgreSQL refuses the connection",
            found=first_line(error),
            hint="correct the account, its password, the database's name, or the settings of TLS, "
            "in the connection",
        )
    if any(part in text for part in _FULL):
        return ServiceUnavailableError(
            "PostgreSQL has no free connection",
            found=first_line(error),
            expected="fewer clients than the connection limit of the server, database or account",
            hint="close other clients, or raise max_connections or the CONNECTION LIMIT",
        )
    if _ANSWER.search(text):
        # PostgreSQL sends its code, but libpq keeps the text only, in the language of the server.
        return ServiceUnavailableError(
            "PostgreSQL answers, but opens no connection",
            found=first_line(error),
            expected="a connection",
            hint="if it names the account, its password or the database, correct the connection; "
            "if it names connections, close other clients; if the server starts, wait",
        )
    return unavailable(error)


def invalid_parameter(found: str) -> ConfigurationError:
    """Returns the error of an address with a value that libpq or psycopg does not understand."""
    return ConfigurationError(
        "a parameter of the connection to PostgreSQL is invalid",
        found=found,
        hint="correct it in the connection",
    )


def statement_failed(error: psycopg.Error, conn: Connection) -> RecsysError:
    """Returns the error of a statement that failed with one of `TRANSLATED`.

    Args:
        error: the error of psycopg.
        conn: its connection; it may be closed.
    """
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return _read_only(error, conn)
    if isinstance(error, errors.InsufficientPrivilege):
        return missing_right(error, conn)
    kind = next((kind for kind in _KINDS if kind.covers(error)), None)
    if kind is None:
        return unavailable(error)
    return kind.error(kind.message, found=first_line(error), hint=kind.hint)


def unavailable(error: psycopg.Error) -> ServiceUnavailableError:
    """Returns the error of a server that cannot be reached, or of a connection that broke."""
    return ServiceUnavailableError(
        "PostgreSQL does not answer",
        found=first_line(error),
        expected="an answer from the vector database",
        hint="start it, or correct the connection; `recsys doctor` shows which server is down",
    )


def missing_right(error: psycopg.Error, conn: Connection) -> ConfigurationError:
    """Returns the error of an account without a right, with the statement that grants it."""
    account, database = _identifier(conn.info.user), _identifier(conn.info.dbname)
    found = first_line(error)
    match = _OBJECT.search(found)
    kind, name = match.groups() if match else ("", "")
    grant = {
        "database": f"grant create on database {database} to {account}",
        "schema": f"alter schema {_identifier(name)} owner to {account}",
        "extension": "create extension vector schema public",
    }.get(kind, f"make {account} the owner of {kind} {name}" if kind else "")
    return ConfigurationError(
        "the account of the pipeline lacks a right in PostgreSQL",
        found=f"{found} (account {conn.info.user}, database {conn.info.dbname})",
        expected="an account that may create schemas in the database and owns those of the ledger",
        hint=f"an administrator runs: {grant}" if grant else "see docs/security.md for its rights",
    )


def _identifier(name: str) -> str:
    return sql.Identifier(name).as_string()


def first_line(error: psycopg.Error) -> str:
    """Returns the first line of an error's text; the others quote the statement."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _read_only(error: psycopg.Error, conn: Connection) -> RecsysError:
    try:
        is_standby, source = conn.execute(_READ_ONLY).fetchone() or (False, "unknown")
    except psycopg.Error:
        is_standby, source = False, "unknown"
    if is_standby:
        # After a failover the address may lead to the new primary soon.
        return ServiceUnavailableError(
            "this PostgreSQL is a standby, which is read-only",
            found=first_line(error),
            expected="the primary server",
            hint="correct the address, or name all servers in it with "
            "target_session_attrs=read-write",
        )
    return ConfigurationError(
        "this PostgreSQL is set to read-only",
        found=f"{first_line(error)}; default_transaction_read_only is on (set by: {source})",
        hint="an administrator, or a provider whose disk is nearly full, has set it: ALTER ROLE, "
        "ALTER DATABASE or ALTER SYSTEM RESET default_transaction_read_only",
    )
