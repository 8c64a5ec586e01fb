"""The default search path of a database, where readers find the public names."""

from __future__ import annotations

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
    return schema in (name.strip().strip('"') for name in path.split(","))


def set_search_path(conn: Connection, path: str) -> None:
    """Sets the search path of this database's new sessions.

    Args:
        conn: a session of an account that owns the database.
        path: identifiers as PostgreSQL has quoted them, separated by commas.
    """
    [(name,)] = conn.execute("select current_database()").fetchall()
    conn.execute(
        sql.SQL("alter database {} set search_path = " + path).format(sql.Identifier(name))
    )
