"""The public names of the vectors, and how all of them are switched at once.

The tables of a release keep their own names (``recsys.movie_vectors_<id>``). A schema of views per
release gives them their public names. The champion's schema is called ``recsys_live``, which is on
every session's search path. Renaming two schemas switches all names at once. It takes no lock that
conflicts with readers of the tables (docs/adr/0002-switching-by-schema-rename.md has measurements).
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import sql

from recsys import contract
from recsys.contract import CHANNEL, LIVE_SCHEMA, PUBLIC_TABLES, SITE_ROLE
from recsys.database import Connection
from recsys.errors import LockedError

# The caller holds the promotion lock, so promotions wait for as long.
DROP_LOCK_TIMEOUT: Final = "10s"


def release_table(table: str, release: str) -> str:
    """Name of a release's own table, with its schema."""
    return f"{contract.LEDGER_SCHEMA}.{contract.table_name(table, release)}"


def views_schema(release_id: str) -> str:
    """Name of a release's schema of views while it is not the champion."""
    return f"recsys_views_{contract.check_release_id(release_id).replace('-', '_')}"


def create_views(conn: Connection, release_id: str) -> None:
    """Creates the release's schema of views; its tables must exist.

    An existing schema stays unchanged: replacing a view would wait for readers that still use it
    from the time when the release was the champion. Do not call it for the champion, whose schema
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
                # Readers that follow the consumer rule query the release's own tables.
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
    """Drops a release's schema of views; the live schema has another name and is not affected.

    Raises:
        LockedError: a reader that started before the switch still uses one of the views.
    """
    schema = views_schema(release_id)
    try:
        with conn.transaction():
            conn.execute("select set_config('lock_timeout', %s, true)", (DROP_LOCK_TIMEOUT,))
            conn.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"{schema} is in use", found=f"waited {DROP_LOCK_TIMEOUT}", hint="try again"
        ) from error


def live_tables(conn: Connection) -> dict[str, str]:
    """The table of the schema ``recsys`` behind each public name."""
    return dict(
        conn.execute(
            "select view_name, table_name from information_schema.view_table_usage "
            "where view_schema = %s",
            (LIVE_SCHEMA,),
        ).fetchall()
    )


def search_path_is_set(conn: Connection) -> bool:
    """Whether the database's default search path contains the schema of the public names."""
    row = conn.execute(
        "select from pg_db_role_setting s, unnest(s.setconfig) as setting "
        "where s.setrole = 0 and setting like %s "
        "and s.setdatabase = (select oid from pg_database where datname = current_database())",
        (f"search\\_path=%{LIVE_SCHEMA}%",),
    ).fetchone()
    return row is not None


def ensure_search_path(conn: Connection) -> None:
    """Adds the schema of the public names to the database's default search path if necessary.

    This is a setting of the database: restoring a dump of its contents does not restore it.
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
