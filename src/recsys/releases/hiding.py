"""Hides users who are being erased from readers, at once, before a release without them is there.

The views of every release that may know them get a filter, and the release's own table, which
readers of the exact pair query, a policy that filters it for everybody but its owner. Nothing is
deleted and no row changes, so the release stays what was verified and signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import psycopg
from psycopg import sql
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from recsys import contract, features, ledger
from recsys.contract import (
    CHANNEL,
    LEDGER_SCHEMA,
    LIVE_SCHEMA,
    PUBLIC_TABLES,
    FeatureSettings,
    PublicTable,
)
from recsys.database import Connection
from recsys.errors import LockedError
from recsys.ledger import Release, State
from recsys.releases import public_names

USERS_ERASED: Final = "users erased"
"""Payload of the notification on `CHANNEL`: readers drop what they keep of users."""
_POLICY: Final = "without_erased_users"
_LOCK_TIMEOUT: Final = "50ms"
_MAX_ATTEMPTS: Final = 30
_USER_TABLES: Final = tuple(table for table in PUBLIC_TABLES if table.id_column == "userid")


def erased_users(conn: Connection) -> features.ErasedUsers:
    """Returns all users who were erased or are being erased."""
    return _erased_users(conn, ledger.erasures(conn))


def erased_users_of(conn: Connection, settings: FeatureSettings) -> features.ErasedUsers:
    """Returns the users whom a build with these settings leaves out.

    Raises:
        LedgerError: the settings name a list that this ledger does not have.
    """
    if settings.erased is None:
        return features.ErasedUsers(b"")
    return _erased_users(conn, ledger.erasures(conn, settings.erased))


def _erased_users(conn: Connection, listed: list[ledger.Erasure]) -> features.ErasedUsers:
    return features.ErasedUsers(
        ledger.erasure_key(conn),
        (erasure.user_hash for erasure in listed),
        listed[-1].digest if listed else None,
    )


def may_know(conn: Connection, releases: Iterable[Release]) -> list[Release]:
    """Returns those of some releases that may know a user who is being erased."""
    pending = [e.number for e in ledger.erasures(conn) if e.is_pending]
    newest = max(pending, default=0)
    return [release for release in releases if release.erasures_covered < newest]


def hide_users(conn: Connection, releases: Iterable[Release]) -> None:
    """Hides the users of pending requests in views and tables of releases; idempotent.

    In the caller's transaction. Only what is not filtered yet is changed, for which the view or the
    table is locked for an instant.
    """
    conn.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
    for release in releases:
        live = release.state == State.CHAMPION
        schema = LIVE_SCHEMA if live else public_names.views_schema(release.release_id)
        for table in _USER_TABLES:
            public_names.filter_view(conn, schema, table, release.release_id)
            _filter_table(conn, table, release.release_id)


def hide_with_retries(
    conn: Connection, releases: list[Release], first: Callable[[], None] | None = None
) -> None:
    """Does `hide_users` in a transaction of its own, again until no reader is in the way.

    Args:
        conn: the session, which holds the promotion lock.
        releases: the releases that may know the users.
        first: called in the same transaction before; every attempt calls it.

    Raises:
        LockedError: readers use a view or a table for too long.
    """
    if not releases and first is None:
        return
    retrying = Retrying(
        retry=retry_if_exception_type(psycopg.errors.LockNotAvailable),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        stop=stop_after_attempt(_MAX_ATTEMPTS),
        reraise=True,
    )
    try:
        for attempt in retrying:
            with attempt, conn.transaction():
                if first:
                    first()
                hide_users(conn, releases)
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            "readers use the public tables without a pause, so that they cannot be filtered",
            found=f"{_MAX_ATTEMPTS} attempts of {_LOCK_TIMEOUT}",
            hint="end long transactions of readers, and try again",
        ) from error


def tell_readers(conn: Connection) -> None:
    """Tells readers, at commit, that users were erased."""
    conn.execute("select pg_notify(%s, %s)", (CHANNEL, USERS_ERASED))


def _filter_table(conn: Connection, table: PublicTable, release_id: str) -> None:
    name = contract.table_name(table.name, release_id)
    row = conn.execute(
        "select c.relrowsecurity from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        # A damaged table may lack the column.
        "join pg_attribute a on a.attrelid = c.oid and a.attname = %s and not a.attisdropped "
        "where n.nspname = %s and c.relname = %s and c.relkind = 'r'",
        (table.id_column, LEDGER_SCHEMA, name),
    ).fetchone()
    if row != (False,):
        return
    relation = sql.Identifier(LEDGER_SCHEMA, name)
    conn.execute(
        sql.SQL("drop policy if exists {} on {}").format(sql.Identifier(_POLICY), relation)
    )
    conn.execute(
        sql.SQL("create policy {} on {} for select using (not recsys.is_being_erased({}))").format(
            sql.Identifier(_POLICY), relation, sql.Identifier(table.id_column)
        )
    )
    conn.execute(sql.SQL("alter table {} enable row level security").format(relation))
