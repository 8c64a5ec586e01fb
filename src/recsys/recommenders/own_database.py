"""The database of a recommender: its name, and whether it was made for the recommender."""

from __future__ import annotations

from psycopg import sql

from recsys.database import Connection
from recsys.errors import ConfigurationError
from recsys.recommenders.description import Description
from recsys.recommenders.servers import services_of
from recsys.services import Services


def identifiers(description: Description) -> tuple[sql.Identifier, sql.Identifier]:
    """Returns the names of a recommender's database and of the role of its readers."""
    return sql.Identifier(description.name), sql.Identifier(description.namespace.site_role)


def exists(conn: Connection, catalog: str, column: str, name: str) -> bool:
    """Returns whether a catalog of PostgreSQL has a name, e.g. ``pg_database``, ``datname``."""
    query = sql.SQL("select from {} where {} = %s").format(
        sql.Identifier(catalog), sql.Identifier(column)
    )
    return conn.execute(query, (name,)).fetchone() is not None


def check_own(description: Description, shared: Services, *, may_be_empty: bool) -> None:
    """Raises ConfigurationError if the database of this name was not made for the recommender.

    One that was has the setting of `database_rights`. One that is empty may have been made by an
    administrator, or by a command that was killed.
    """
    mark = f"recsys.site_role={description.namespace.site_role}"
    with shared.connect() as conn:
        if not exists(conn, "pg_database", "datname", description.name):
            return
        marked = conn.execute(
            "select from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase "
            "where d.datname = %s and s.setrole = 0 and %s = any (s.setconfig)",
            (description.name, mark),
        ).fetchone()
    if marked is not None or (may_be_empty and _is_empty(services_of(description, shared))):
        return
    raise ConfigurationError(
        f"the database {description.name} was not made for this recommender",
        expected=f"no such database, or one with the setting {mark}",
        hint="give the recommender another name"
        if may_be_empty
        else f"if it is one that is empty, `recsys recommender add {description.name}` first",
    )


def _is_empty(own: Services) -> bool:
    with own.connect() as conn:
        used = conn.execute(
            "select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname <> 'information_schema' and n.nspname !~ '^pg_' limit 1"
        ).fetchone()
    return used is None
