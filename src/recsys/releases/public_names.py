"""The public names of the vectors, and how all of them change over in one instant.

Each release's tables keep their own names for life (``recsys.movie_vectors_<id>``). A schema of
views per release gives them their public names, and the schema of the champion is called
``recsys_live``, which is on every session's search path. Renaming two schemas switches all names
at once and takes no lock that a reader of the tables holds, so neither waits for the other
(docs/adr/0002-switching-by-schema-rename.md has the measurements).
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from recsys import contract
from recsys.contract import CHANNEL, LIVE_SCHEMA, PUBLIC_TABLES, SITE_ROLE
from recsys.database import Connection
from recsys.errors import LockedError

# Whoever drops holds the promotion lock meanwhile, and promotions wait for it.
_DROP_LOCK_TIMEOUT: Final = "10s"


def views_schema(release_id: str) -> str:
    """Name of a release's schema of views while it is not the champion."""
    return f"recsys_views_{contract.check_release_id(release_id).replace('-', '_')}"


def create_views(conn: Connection, release_id: str) -> None:
    """Makes the release's schema of views; its tables must exist.

    A schema that is there is left as it is: replacing a view would wait for a reader who has held
    it since the release was last the champion. Must not be called for the champion, whose schema
    is the live one.
    """
    schema = sql.Identifier(views_schema(release_id))
    with conn.transaction():
        if not _schema_exists(conn, views_schema(release_id)):
            _create_schema(conn, schema, release_id)
        if _site_role_exists(conn):
            site = sql.Identifier(SITE_ROLE)
            conn.execute(sql.SQL("grant usage on schema {} to {}").format(schema, site))
            conn.execute(
                sql.SQL("grant select on all tables in schema {} to {}").format(schema, site)
            )
            for table in PUBLIC_TABLES:
                # Readers by the consumer rule use the release's own tables.
                conn.execute(
                    sql.SQL("grant select on {}.{} to {}").format(
                        sql.Identifier(contract.LEDGER_SCHEMA),
                        sql.Identifier(contract.table_name(table.name, release_id)),
                        site,
                    )
                )


def _create_schema(conn: Connection, schema: sql.Identifier, release_id: str) -> None:
    conn.execute(sql.SQL("create schema {}").format(schema))
    for table in PUBLIC_TABLES:
        conn.execute(
            sql.SQL("create view {}.{} as select {} from {}.{}").format(
                schema,
                sql.Identifier(table.name),
                sql.SQL(", ").join(map(sql.Identifier, table.columns)),
                sql.Identifier(contract.LEDGER_SCHEMA),
                sql.Identifier(contract.table_name(table.name, release_id)),
            )
        )


def switch_tables(conn: Connection, from_release: str | None, to_release: str) -> None:
    """Gives the public names to another release, in the caller's transaction."""
    live = sql.Identifier(LIVE_SCHEMA)
    if from_release is not None:
        conn.execute(
            sql.SQL("alter schema {} rename to {}").format(
                live, sql.Identifier(views_schema(from_release))
            )
        )
    conn.execute(
        sql.SQL("alter schema {} rename to {}").format(
            sql.Identifier(views_schema(to_release)), live
        )
    )
    conn.execute("select pg_notify(%s, %s)", (CHANNEL, to_release))


def drop_views(conn: Connection, release_id: str) -> None:
    """Drops a release's schema of views; the live one has another name and cannot be hit.

    Raises:
        LockedError: a reader that began before the switch still holds one of them.
    """
    schema = views_schema(release_id)
    try:
        with conn.transaction():
            conn.execute("select set_config('lock_timeout', %s, true)", (_DROP_LOCK_TIMEOUT,))
            conn.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"{schema} is in use", found=f"waited {_DROP_LOCK_TIMEOUT}", hint="try again"
        ) from error


def live_tables(conn: Connection) -> dict[str, str]:
    """Which relation of the schema ``recsys`` stands behind each public name."""
    return dict(
        conn.execute(
            "select view_name, table_name from information_schema.view_table_usage "
            "where view_schema = %s",
            (LIVE_SCHEMA,),
        ).fetchall()
    )


def search_path_is_set(conn: Connection) -> bool:
    """Whether every new session of the database finds the public names without being told where."""
    row = conn.execute(
        "select from pg_db_role_setting s, unnest(s.setconfig) as setting "
        "where s.setrole = 0 and setting like %s "
        "and s.setdatabase = (select oid from pg_database where datname = current_database())",
        (f"search\\_path=%{LIVE_SCHEMA}%",),
    ).fetchone()
    return row is not None


def ensure_search_path(conn: Connection) -> None:
    """Puts the schema of the public names on the database's search path, if it is not there.

    A setting of the database, which a restored dump of its content does not bring along.
    """
    if not search_path_is_set(conn):
        [(name,)] = conn.execute("select current_database()").fetchall()
        conn.execute(
            sql.SQL('alter database {} set search_path = "$user", {}, public').format(
                sql.Identifier(name), sql.Identifier(LIVE_SCHEMA)
            )
        )


def _schema_exists(conn: Connection, name: str) -> bool:
    return (
        conn.execute("select from pg_namespace where nspname = %s", (name,)).fetchone() is not None
    )


def _site_role_exists(conn: Connection) -> bool:
    return (
        conn.execute("select from pg_roles where rolname = %s", (SITE_ROLE,)).fetchone() is not None
    )
