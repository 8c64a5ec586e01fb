"""Numbered migrations of the ledger. Each commits in one transaction with its record."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

import psycopg
from psycopg import sql

from recsys.contract import LIVE_SCHEMA, SITE_ROLE
from recsys.database import Connection
from recsys.errors import ConfigurationError, LedgerError, LockedError
from recsys.ledger.search_path import path_contains, set_search_path, stored_search_path

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# A statement of migration 1, which stays as it was released.
_SETS_SEARCH_PATH = re.compile(
    r"do \$\$\nbegin\n    execute format\('alter database .*?\$\$;", re.DOTALL
)
# An arbitrary constant that differs from the promotion lock's.
_LOCK = 0x5EC5_0001
_LOCK_TIMEOUT = "15s"
_ENCODING = "UTF8"


@dataclass(frozen=True)
class Migration:
    """One numbered change of the ledger's schema."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Digest of the SQL text, 64 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def available() -> list[Migration]:
    """Returns the migrations of this code, in order."""
    migrations = []
    for entry in resources.files(__package__).iterdir():
        if match := _FILE.fullmatch(entry.name):
            migrations.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    return sorted(migrations, key=lambda m: m.number)


def applied(conn: Connection) -> list[int]:
    """Returns the numbers of the migrations that ran in a database, in order."""
    if conn.execute("select to_regclass('recsys.migrations')").fetchone() == (None,):
        return []
    return [row[0] for row in conn.execute("select number from recsys.migrations order by number")]


def check_current(conn: Connection) -> None:
    """Raises an error unless the ledger's schema is the one of this code.

    Raises:
        LedgerError: the schema is missing, older, or newer than the code.
    """
    present, expected = applied(conn), [m.number for m in available()]
    if present == expected:
        return
    if not present:
        raise LedgerError(
            "this database contains no ledger",
            hint="run the pipeline once, or `recsys recover`, which creates it",
        )
    _refuse_newer(present, expected)
    raise LedgerError(
        "the ledger's schema is older than this code",
        found=f"migrations up to {present[-1]}",
        expected=f"up to {expected[-1]}",
        hint="run `recsys recover`, which upgrades it",
    )


def apply(conn: Connection) -> list[int]:
    """Runs the missing migrations; returns their numbers.

    Safe to call at any time and from several processes at once.

    Raises:
        LedgerError: newer code has migrated the database.
        LockedError: another process is migrating and did not finish in time.
        ConfigurationError: the database is new and has another encoding than UTF-8.
    """
    migrations = available()
    present = applied(conn)
    if present == [migration.number for migration in migrations]:
        return []
    if not present:
        _check_encoding(conn)
    with conn.transaction():
        _lock(conn)
        # "if not exists" needs the right to create schemas even if an administrator has made it.
        if conn.execute("select to_regnamespace('recsys')").fetchone() == (None,):
            conn.execute("create schema recsys")
        conn.execute(
            "create table if not exists recsys.migrations (number integer primary key, "
            "name text not null, sha256 text not null, "
            "applied_at timestamptz not null default clock_timestamp())"
        )
    executed = []
    for migration in migrations:
        with conn.transaction():
            _lock(conn)
            present = applied(conn)
            _refuse_newer(present, [m.number for m in migrations])
            if migration.number in present:
                continue
            path = stored_search_path(conn)
            text = migration.text
            if migration.number == 1 and not _owns_database(conn):
                # An administrator sets the path; `recsys doctor` says so.
                text = _SETS_SEARCH_PATH.sub("", text)
            # Each recommender has readers of its own; the role is named in migration 1 only.
            conn.execute(sql.SQL(text.replace(SITE_ROLE, conn.site_role)))
            if migration.number == 1 and path is not None and _owns_database(conn):
                # It replaces a path that was set for other applications.
                added = path if path_contains(path, LIVE_SCHEMA) else f"{path}, {LIVE_SCHEMA}"
                set_search_path(conn, added)
            conn.execute(
                "insert into recsys.migrations (number, name, sha256) values (%s, %s, %s)",
                (migration.number, migration.name, migration.sha256),
            )
            executed.append(migration.number)
    return executed


def _owns_database(conn: Connection) -> bool:
    """Whether the account may change settings of the database, such as its search path."""
    [(owns,)] = conn.execute(
        "select pg_has_role(datdba, 'USAGE') from pg_database where datname = current_database()"
    ).fetchall()
    return bool(owns)


def _check_encoding(conn: Connection) -> None:
    """Raises ConfigurationError unless the database can store every text, such as any title."""
    # Sent by the server at the start of each session. In SQL_ASCII, results are bytes, not texts.
    found = conn.info.parameter_status("server_encoding")
    if found != _ENCODING:
        raise ConfigurationError(
            "the database has an encoding that cannot store every text",
            found=f"encoding {found or 'unknown'} of database {conn.info.dbname}",
            expected=f"encoding {_ENCODING}",
            hint="create another database: create database recsys encoding 'UTF8' "
            "template template0; add a locale that allows UTF8, such as locale 'C.UTF-8', if "
            "PostgreSQL asks for one",
        )


def _lock(conn: Connection) -> None:
    conn.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
    try:
        conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError("another process is migrating the ledger", hint="retry") from error


def _refuse_newer(present: list[int], expected: list[int]) -> None:
    unknown = sorted(set(present) - set(expected))
    if unknown:
        raise LedgerError(
            "the ledger was migrated by newer code",
            found=f"migration {unknown[-1]}",
            expected=f"at most {expected[-1] if expected else 0}",
            hint="upgrade this installation of recsys: older code must not write to the ledger",
        )
