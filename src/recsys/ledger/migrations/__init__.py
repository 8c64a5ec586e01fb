"""Numbered migrations of the ledger; each commits together with the record that it ran."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from recsys.errors import LedgerError, LockedError

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# Any constant serves; it must differ from the promotion lock's.
_LOCK = 0x5EC5_0001
_LOCK_TIMEOUT = "30s"


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
    """The migrations that this code brings, in order."""
    found = []
    for entry in resources.files(__package__).iterdir():
        if match := _FILE.fullmatch(entry.name):
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda m: m.number)


def applied(conn: psycopg.Connection[Any]) -> list[int]:
    """Numbers of the migrations that the database records, in order; empty for a new one."""
    if conn.execute("select to_regclass('recsys.migrations')").fetchone() == (None,):
        return []
    return [row[0] for row in conn.execute("select number from recsys.migrations order by number")]


def check_current(conn: psycopg.Connection[Any]) -> None:
    """Raises unless the ledger's schema is the one that this code knows.

    Raises:
        LedgerError: the schema is missing, older, or newer than the code.
    """
    done, known = applied(conn), [m.number for m in available()]
    if done == known:
        return
    if not done:
        raise LedgerError(
            "this database holds no ledger",
            hint="run the pipeline once, or `recsys recover`, which sets it up",
        )
    _refuse_newer(done, known)
    raise LedgerError(
        "the ledger's schema is older than this code",
        found=f"migrations up to {done[-1]}",
        expected=f"up to {known[-1]}",
        hint="run `recsys recover`, which upgrades it",
    )


def apply(conn: psycopg.Connection[Any]) -> list[int]:
    """Brings the ledger's schema up to this code; returns the numbers that ran now.

    Safe to call at any time and from several processes at once.

    Raises:
        LedgerError: the database was set up by newer code.
        LockedError: another process is migrating and does not finish.
    """
    with conn.transaction():
        _lock(conn)
        conn.execute("create schema if not exists recsys")
        conn.execute(
            "create table if not exists recsys.migrations (number integer primary key, "
            "name text not null, sha256 text not null, "
            "applied_at timestamptz not null default clock_timestamp())"
        )
    known = available()
    ran = []
    for migration in known:
        with conn.transaction():
            _lock(conn)
            done = applied(conn)
            _refuse_newer(done, [m.number for m in known])
            if migration.number in done:
                continue
            conn.execute(sql.SQL(migration.text))
            conn.execute(
                "insert into recsys.migrations (number, name, sha256) values (%s, %s, %s)",
                (migration.number, migration.name, migration.sha256),
            )
            ran.append(migration.number)
    return ran


def _lock(conn: psycopg.Connection[Any]) -> None:
    conn.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
    try:
        conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError("another process is migrating the ledger", hint="try again") from error


def _refuse_newer(done: list[int], known: list[int]) -> None:
    unknown = sorted(set(done) - set(known))
    if unknown:
        raise LedgerError(
            "the ledger was set up by newer code",
            found=f"migration {unknown[-1]}",
            expected=f"at most {known[-1] if known else 0}",
            hint="upgrade this installation of recsys; an older one must not write to the ledger",
        )
