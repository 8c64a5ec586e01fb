"""Makes what a recommender needs in PostgreSQL, and says what it lacks there."""

from __future__ import annotations

import psycopg
from psycopg import sql

from recsys import database
from recsys.errors import ConfigurationError
from recsys.recommenders import own_database
from recsys.recommenders.description import Description
from recsys.recommenders.grants import database_rights
from recsys.services import Services


def provision(description: Description, shared: Services) -> list[str]:
    """Makes a recommender's database and the role of its readers; safe to repeat.

    Only members of that role, and the account that makes it, can connect to the database.

    Args:
        description: the recommender; not the first one.
        shared: servers whose account may make databases and roles.

    Returns:
        What was made.

    Raises:
        ConfigurationError: the account has no right to make a database or a role, or somebody
            else's database has the name.
    """
    name, site = own_database.identifiers(description)
    own_database.check_own(description, shared, may_be_empty=True)
    made = []
    try:
        with shared.connect() as conn:
            if not own_database.exists(
                conn, "pg_roles", "rolname", description.namespace.site_role
            ):
                conn.execute(sql.SQL("create role {} nologin").format(site))
                made.append(f"role {description.namespace.site_role}")
            if not own_database.exists(conn, "pg_database", "datname", description.name):
                with database.long_statement(conn, 120):
                    conn.execute(
                        sql.SQL("create database {} encoding 'UTF8' template template0").format(
                            name
                        )
                    )
                made.append(f"database {description.name}")
            # Whatever was made: a command that was killed has made a part only.
            for statement in database_rights(description):
                conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "the account may not make the recommender's database or role",
            found=str(error).strip(),
            hint=f"have an administrator run what `recsys recommender grants {description.name}` "
            "prints",
        ) from error
    return made


def problems(description: Description, shared: Services) -> list[str]:
    """Returns what the recommender lacks on the servers; empty if nothing."""
    if description.namespace.is_first:
        return []
    name, role = description.name, description.namespace.site_role
    with shared.connect() as conn:
        if not own_database.exists(conn, "pg_database", "datname", name):
            return [f"there is no database {name}; `recsys recommender add {name}` makes it"]
        found = []
        if not own_database.exists(conn, "pg_roles", "rolname", role):
            found.append(f"there is no role {role}; `recsys recommender add {name}` makes it")
        [(public,)] = conn.execute(
            "select has_database_privilege('public', %s, 'connect')", (name,)
        ).fetchall()
        if public:
            found.append(
                f"every account may connect to the database {name}; "
                f"`recsys recommender add {name}` takes this right away"
            )
    return found
