"""The default search path of a database, where readers find the public names."""

from __future__ import annotations

import csv
from typing import Final

from psycopg import sql

from recsys.database import Connection

_POSTGRES_DEFAULT: Final = '"$user", public'


def stored_search_path(conn: Connection, role: str | None = None) -> str | None:
    """Returns the search path that is set for this database; None if none is set.

    Args:
        conn: a session in the database.
        role: return the path of this role's sessions instead.
    """
    row = conn.execute(
        "select substr(setting, length('search_path=') + 1) "
        "from pg_db_role_setting s, unnest(s.setconfig) as setting "
        "where setting like 'search\\_path=%%' and case when %(role)s::text is null "
        "then s.setrole = 0 else s.setrole = (select oid from pg_roles where rolname = %(role)s) "
        "end and s.setdatabase in "
        "(0, (select oid from pg_database where datname = current_database())) "
        "order by s.setdatabase desc limit 1",
        {"role": role},
    ).fetchone()
    return None if row is None else str(row[0])


def server_search_path(conn: Connection) -> str:
    """Returns the path that sessions get from the configuration of the server."""
    row = conn.execute(
        "select reset_val from pg_settings where name = 'search_path' "
        "and source in ('default', 'configuration file')"
    ).fetchone()
    return _POSTGRES_DEFAULT if row is None else str(row[0])


def path_contains(path: str, schema: str) -> bool:
    """Whether a search path names a schema."""
    return schema in _names(path)


def set_search_path(conn: Connection, path: str) -> None:
    """Sets the search path of this database's new sessions.

    Args:
        conn: a session of an account that owns the database.
        path: names separated by commas, quoted as PostgreSQL quotes them where necessary.
    """
    [(name,)] = conn.execute("select current_database()").fetchall()
    names = sql.SQL(", ").join(map(sql.Identifier, _names(path)))
    conn.execute(
        sql.SQL("alter database {} set search_path = {}").format(sql.Identifier(name), names)
    )


def _names(path: str) -> list[str]:
    """Splits a search path; PostgreSQL doubles a quote in a name, as CSV does."""
    return [name.strip() for row in csv.reader([path], skipinitialspace=True) for name in row]
