"""The public names of the vectors, and how all of them are switched at once.

The tables of a release keep their own names (``recsys.movie_vectors_<id>``). A schema of views per
release gives them their public names. The champion's schema is called ``recsys_live``, which is on
every session's search path. Renaming two schemas switches all names at once. It takes no lock that
conflicts with readers of the tables (docs/adr/0002-switching-by-schema-rename.md has measurements).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import psycopg
from psycopg import sql

from recsys import contract
from recsys.contract import CHANNEL, LIVE_SCHEMA, PUBLIC_TABLES, PublicTable
from recsys.database import Connection
from recsys.errors import LockedError, VectorError
from recsys.releases import site_access

# The caller holds the promotion lock, so promotions wait for as long.
DROP_LOCK_TIMEOUT: Final = "10s"
CHANGED: Final = "another query"
"""Stands for the table of a view that somebody changed."""
_PLAIN_VIEW: Final = re.compile(
    r"SELECT (?P<columns>[a-z0-9_., ]+) FROM (?:recsys\.)?(?P<table>\w+)(?P<filter> WHERE .+)?;"
)
_FILTER: Final = re.compile(r" WHERE \(?NOT (?:recsys\.)?is_being_erased\((?:\w+\.)?userid\)\)?")


def release_table(table: str, release: str) -> str:
    """Name of a release's own table, with its schema."""
    return f"{contract.LEDGER_SCHEMA}.{contract.table_name(table, release)}"


def views_schema(release_id: str) -> str:
    """Name of a release's schema of views while it is not the champion."""
    return f"recsys_views_{contract.check_release_id(release_id).replace('-', '_')}"


def create_views(conn: Connection, release_id: str) -> None:
    """Creates the release's schema of views; its tables must exist.

    Views that exist and are right stay unchanged: replacing one would wait for readers that still
    use it from the time when the release was the champion. Do not call it for the champion, whose
    schema is the live one.

    Raises:
        VectorError: a table of the release is missing.
    """
    schema = views_schema(release_id)
    repair_views(conn, schema, release_id)
    site_access.grant_release(conn, schema, release_id)


def filter_view(conn: Connection, schema: str, table: PublicTable, release_id: str) -> None:
    """Makes the view of a table of users answer without those who are being erased.

    In the caller's transaction. Nothing happens if there is no such view or it is filtered already.
    """
    definitions = _definitions(conn, [schema]).get(schema, {})
    definition = definitions.get(table.name)
    if definition is None or _is_filtered(definition):
        return
    if _table_behind(table.name, definition) == contract.table_name(table.name, release_id):
        conn.execute(
            sql.SQL("{} where not recsys.is_being_erased({})").format(
                _view_of(schema, table, release_id), sql.Identifier(table.id_column)
            )
        )


def _view_of(schema: str, table: PublicTable, release_id: str) -> sql.Composed:
    return sql.SQL("create or replace view {} as select {} from {}.{}").format(
        sql.Identifier(schema, table.name),
        sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        sql.Identifier(contract.LEDGER_SCHEMA),
        sql.Identifier(contract.table_name(table.name, release_id)),
    )


def _create_view(
    conn: Connection, schema: str, table: PublicTable, release_id: str, replaces: bool
) -> None:
    view = sql.Identifier(schema, table.name)
    create = _view_of(schema, table, release_id)
    if not replaces:
        conn.execute(create)
        return
    try:
        with conn.transaction():
            conn.execute(create)
    except psycopg.errors.InvalidTableDefinition:
        # A view with other columns cannot be replaced.
        conn.execute(sql.SQL("drop view {}").format(view))
        conn.execute(create)


def expected_views(release_id: str) -> dict[str, str]:
    """Returns the table of the schema ``recsys`` that each public name of a release stands for."""
    return {table.name: contract.table_name(table.name, release_id) for table in PUBLIC_TABLES}


def views_of(conn: Connection, schema: str) -> dict[str, str]:
    """Returns the table of the schema ``recsys`` behind each public view of a schema.

    A view that is not a plain selection of its columns, as `create_views` makes it, is `CHANGED`.
    It may leave out the users who are being erased.
    """
    return views_of_schemas(conn, [schema]).get(schema, {})


def views_of_schemas(conn: Connection, schemas: list[str]) -> dict[str, dict[str, str]]:
    """Returns `views_of` of each schema that has one of these views."""
    return {
        schema: {name: _table_behind(name, text) for name, text in definitions.items()}
        for schema, definitions in _definitions(conn, schemas).items()
    }


def _definitions(conn: Connection, schemas: list[str]) -> dict[str, dict[str, str]]:
    rows = conn.execute(
        "select n.nspname, c.relname, pg_get_viewdef(c.oid) from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind = 'v' and c.relname = any(%s)",
        (schemas, [table.name for table in PUBLIC_TABLES]),
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for schema, name, definition in rows:
        found.setdefault(schema, {})[name] = " ".join(definition.split())
    return found


def _is_filtered(definition: str) -> bool:
    found = _PLAIN_VIEW.fullmatch(definition)
    return bool(found and found["filter"] and _FILTER.fullmatch(found["filter"]))


def _table_behind(name: str, definition: str) -> str:
    [columns] = [table.columns for table in PUBLIC_TABLES if table.name == name]
    found = _PLAIN_VIEW.fullmatch(definition)
    if found and found["filter"] and not _is_filtered(definition):
        return CHANGED
    # PostgreSQL before 16 repeats the name of the table before each column.
    if found and found["columns"].replace(f"{found['table']}.", "") == ", ".join(columns):
        return found["table"]
    return CHANGED


def without_views(conn: Connection, release_ids: Iterable[str]) -> list[str]:
    """Returns those of some releases, none of them the champion, that lack one of their views."""
    schemas = {views_schema(release_id): release_id for release_id in release_ids}
    found = views_of_schemas(conn, list(schemas))
    return [
        release_id
        for schema, release_id in schemas.items()
        if found.get(schema, {}) != expected_views(release_id)
    ]


def repair_views(conn: Connection, schema: str, release_id: str) -> bool:
    """Makes missing or wrong views of a schema again, and the schema; returns whether it did.

    Views that are right stay untouched, so that no reader waits.

    Raises:
        VectorError: a table of the release is missing, or something that is not a view has one of
            the names.
        LockedError: a reader uses a wrong view for too long.
    """
    expected = expected_views(release_id)
    if views_of(conn, schema) == expected:
        return False
    try:
        with conn.transaction():
            conn.execute("select set_config('lock_timeout', %s, true)", (DROP_LOCK_TIMEOUT,))
            if not _schema_exists(conn, schema):
                conn.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
            present = views_of(conn, schema)
            for table in PUBLIC_TABLES:
                if present.get(table.name) != expected[table.name]:
                    _create_view(conn, schema, table, release_id, table.name in present)
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"a view of {schema} is in use", found=f"waited {DROP_LOCK_TIMEOUT}", hint="try again"
        ) from error
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
        psycopg.errors.WrongObjectType,
        psycopg.errors.DependentObjectsStillExist,
    ) as error:
        raise VectorError(
            f"the public names of release {release_id} cannot be made",
            found=str(error).strip().splitlines()[0],
            expected=f"the tables {', '.join(sorted(expected.values()))}",
            hint="roll back to another release with `recsys rollback`",
        ) from error
    return True


def switch_tables(conn: Connection, from_release: str | None, to_release: str) -> None:
    """Gives the public names to another release, in the caller's transaction."""
    live = sql.Identifier(LIVE_SCHEMA)
    # It is gone if the champion's tables were dropped with all that depends on them.
    if from_release is not None and _schema_exists(conn, LIVE_SCHEMA):
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

    Nothing of another application that uses them is dropped, see `dependents`.

    Raises:
        LockedError: a reader that started before the switch still uses one of the views.
        VectorError: something else is in the schema, or uses a view.
    """
    schema = views_schema(release_id)
    try:
        with conn.transaction():
            conn.execute("select set_config('lock_timeout', %s, true)", (DROP_LOCK_TIMEOUT,))
            if _schema_exists(conn, schema):
                for table in PUBLIC_TABLES:
                    view = sql.Identifier(schema, table.name)
                    conn.execute(sql.SQL("drop view if exists {}").format(view))
                conn.execute(sql.SQL("drop schema {}").format(sql.Identifier(schema)))
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.WrongObjectType) as error:
        raise VectorError(
            f"{schema} is used by something that is not of this project",
            found=str(error).strip().splitlines()[0],
            hint="drop it, or change it to another release, see docs/site-developer.md",
        ) from error
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"{schema} is in use", found=f"waited {DROP_LOCK_TIMEOUT}", hint="try again"
        ) from error


def live_tables(conn: Connection) -> dict[str, str]:
    """Returns the table of the schema ``recsys`` behind each public name."""
    return views_of(conn, LIVE_SCHEMA)


def dependents(conn: Connection, release_ids: Iterable[str]) -> dict[str, list[str]]:
    """Returns views and functions of others that use a release's tables or its public views.

    They stay bound to this release when another one becomes the champion.

    Returns:
        Their names by release, without the releases that nothing uses.
    """
    tables = {
        table: release_id
        for release_id in release_ids
        for table in expected_views(release_id).values()
    }
    rows = conn.execute(
        """
        with tables as (
            select c.oid, c.relname as of_table
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = %(ledger)s and c.relname = any(%(tables)s)
        ), own as (
            select oid, of_table from tables
            union
            select c.oid, t.of_table
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            join pg_rewrite r on r.ev_class = c.oid
            join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
            join tables t on d.refclassid = 'pg_class'::regclass and d.refobjid = t.oid
            where c.relkind = 'v' and (n.nspname = %(live)s or n.nspname = any(%(views)s))
            union
            select c.oid, v.of_table
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            join unnest(%(views)s::text[], %(first)s::text[]) as v (schema, of_table)
                on v.schema = n.nspname
            where c.relkind = 'v'
        )
        select distinct own.of_table,
            coalesce(r.ev_class::regclass::text, p.oid::regprocedure::text) as name
        from pg_depend d
        join own on d.refobjid = own.oid
        left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
        left join pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
        where d.refclassid = 'pg_class'::regclass
          and (r.ev_class not in (select oid from own) or p.oid is not null)
        order by name
        """,
        {
            "ledger": contract.LEDGER_SCHEMA,
            "live": LIVE_SCHEMA,
            "tables": list(tables),
            "views": [views_schema(release_id) for release_id in sorted(set(tables.values()))],
            # A view that reads nothing of its release still belongs to it, by its schema.
            "first": [
                contract.table_name(PUBLIC_TABLES[0].name, release_id)
                for release_id in sorted(set(tables.values()))
            ],
        },
    ).fetchall()
    found: dict[str, list[str]] = {}
    for table, name in rows:
        names = found.setdefault(tables[table], [])
        if name not in names:
            names.append(name)
    return found


def _schema_exists(conn: Connection, name: str) -> bool:
    return (
        conn.execute("select from pg_namespace where nspname = %s", (name,)).fetchone() is not None
    )
