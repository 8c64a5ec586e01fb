"""What lets the site find and read the public tables: search path and rights.

Both are outside the tables: a dump of a database has neither, and a role that is made later has no
rights. So `recovery` makes them again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import psycopg
from psycopg import sql

from recsys import contract, ledger
from recsys.contract import LEDGER_SCHEMA, LIVE_SCHEMA, PUBLIC_TABLES
from recsys.database import Connection
from recsys.ledger import Action, Actor

log = logging.getLogger(__name__)

_CURRENT_RELEASE: Final = "current_release"


def search_path_is_set(conn: Connection) -> bool:
    """Whether the database's default search path contains the schema of the public names."""
    path = ledger.stored_search_path(conn)
    return path is not None and ledger.path_contains(path, LIVE_SCHEMA)


def search_path_statement(conn: Connection) -> str:
    """Returns the statement with which the owner of the database adds the public names."""
    before = ledger.stored_search_path(conn) or ledger.server_search_path(conn)
    name = sql.Identifier(conn.info.dbname).as_string()
    return f"alter database {name} set search_path = {before}, {LIVE_SCHEMA}"


def ensure_search_path(conn: Connection, *, actor: Actor) -> bool:
    """Adds the schema of the public names to the database's default search path if necessary.

    The schemas that are on the path keep their places. This is a setting of the database: restoring
    a dump of its contents does not restore it. The change is recorded in the history.

    Returns:
        Whether the path was changed. An account without the right to change it leaves it as it is;
        `recsys doctor` reports that.
    """
    if search_path_is_set(conn):
        return False
    before = ledger.stored_search_path(conn) or ledger.server_search_path(conn)
    after = f"{before}, {LIVE_SCHEMA}"
    try:
        with conn.transaction():
            ledger.set_search_path(conn, after)
            ledger.note(conn, Action.SEARCH_PATH_CHANGED, actor=actor, before=before, after=after)
    except psycopg.errors.InsufficientPrivilege as error:
        log.warning("the search path of the database stays as it is: %s", error)
        return False
    return True


def site_problems(conn: Connection, served: Iterable[str]) -> list[str]:
    """Returns what keeps the site's role from reading, as the role itself would see it.

    Args:
        conn: a session of the pipeline.
        served: the champion, and earlier releases that a reader may still use.
    """
    if not site_role_exists(conn):
        return []
    messages = []
    public = [
        f"{LEDGER_SCHEMA}.{_CURRENT_RELEASE}",
        *(f"{LIVE_SCHEMA}.{table.name}" for table in PUBLIC_TABLES),
    ]
    unreadable = [
        *unreadable_relations(conn, [*public, *release_tables(served)]),
        # A view takes its rights along when its schema is renamed, so a new one needs them, too.
        *(f"{name} (missing)" for name in _missing_relations(conn, public)),
    ]
    if unreadable:
        messages.append(
            f"the role {conn.site_role} may not read {', '.join(unreadable)}; run "
            "`recsys recover`, which grants it"
        )
    path = ledger.stored_search_path(conn, role=conn.site_role)
    if path is not None and not ledger.path_contains(path, LIVE_SCHEMA):
        messages.append(
            f"the role {conn.site_role} has a search_path of its own ({path}), so it does not find "
            f"the public tables by name; add {LIVE_SCHEMA} to it with `alter role`"
        )
    return messages


def grant_site(conn: Connection) -> None:
    """Grants the site's role, if it exists, the rights that all releases need. Idempotent."""
    if not site_role_exists(conn):
        return
    site = sql.Identifier(conn.site_role)
    schema = sql.Identifier(LEDGER_SCHEMA)
    with conn.transaction():
        conn.execute(sql.SQL("grant usage on schema {} to {}").format(schema, site))
        conn.execute(
            sql.SQL("grant select on {}.{} to {}").format(
                schema, sql.Identifier(_CURRENT_RELEASE), site
            )
        )


def grant_release(conn: Connection, views: str, release_id: str) -> None:
    """Grants the site's role, if it exists, the right to read a release. Idempotent.

    Args:
        conn: a session of the owner of the tables.
        views: the schema of the release's views.
        release_id: the release.
    """
    if not site_role_exists(conn):
        return
    site = sql.Identifier(conn.site_role)
    schema = sql.Identifier(views)
    with conn.transaction():
        conn.execute(sql.SQL("grant usage on schema {} to {}").format(schema, site))
        conn.execute(sql.SQL("grant select on all tables in schema {} to {}").format(schema, site))
        for table in PUBLIC_TABLES:
            # Readers that follow the consumer rule query the release's own tables.
            conn.execute(
                sql.SQL("grant select on {}.{} to {}").format(
                    sql.Identifier(LEDGER_SCHEMA),
                    sql.Identifier(contract.table_name(table.name, release_id)),
                    site,
                )
            )


def site_role_exists(conn: Connection) -> bool:
    """Whether the server has the role that the site's accounts are members of."""
    return (
        conn.execute("select from pg_roles where rolname = %s", (conn.site_role,)).fetchone()
        is not None
    )


def release_tables(releases: Iterable[str]) -> list[str]:
    """Returns the releases' own tables with their schema, which readers of the exact pair use."""
    return [
        f"{LEDGER_SCHEMA}.{contract.table_name(table.name, release_id)}"
        for release_id in releases
        for table in PUBLIC_TABLES
    ]


def unreadable_relations(conn: Connection, relations: Iterable[str]) -> list[str]:
    """Returns the existing tables and views that the site's role, which exists, may not read."""
    rows = conn.execute(
        "select name from unnest(%(names)s::text[]) as name "
        "where to_regclass(name) is not null and not ("
        "has_schema_privilege(%(role)s, split_part(name, '.', 1), 'usage') "
        "and has_table_privilege(%(role)s, to_regclass(name), 'select')) order by name",
        {"role": conn.site_role, "names": list(relations)},
    ).fetchall()
    return [name for (name,) in rows]


def _missing_relations(conn: Connection, relations: Iterable[str]) -> list[str]:
    rows = conn.execute(
        "select name from unnest(%s::text[]) as name where to_regclass(name) is null order by name",
        (list(relations),),
    ).fetchall()
    return [name for (name,) in rows]
