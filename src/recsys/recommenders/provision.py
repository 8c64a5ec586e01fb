"""Makes what a recommender needs in PostgreSQL, and removes all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from recsys import database, ledger, releases
from recsys.database import Connection
from recsys.errors import ConfigurationError, LedgerError, TransientError
from recsys.recommenders.description import Description
from recsys.recommenders.servers import services_of
from recsys.services import Services

REMOVING: Final = ".removing"
"""Ends the name of a description whose recommender is being removed; its DAGs are gone."""


def grants(description: Description, account: str) -> list[sql.Composed]:
    """Returns the statements that make a recommender's database and the role of its readers.

    Args:
        description: the recommender; not the first one, which has the connection's database.
        account: the pipeline's account, which owns the database.
    """
    name, site = _identifiers(description)
    return [
        sql.SQL("create role {} nologin").format(site),
        sql.SQL("create database {} owner {} encoding 'UTF8' template template0").format(
            name, sql.Identifier(account)
        ),
        *_rights(description),
    ]


def bucket_policy(description: Description, bucket: str, prefix: str) -> dict[str, Any]:
    """Returns the S3 policy of an account that reaches this recommender's objects only.

    Args:
        description: the recommender.
        bucket: the bucket.
        prefix: the prefix of its keys.
    """
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Objects",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": f"{arn}/{prefix}*",
            },
            {
                "Sid": "List",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": arn,
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}},
            },
        ],
    }


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
    name, site = _identifiers(description)
    _refuse_another_database(description, shared, may_be_empty=True)
    made = []
    try:
        with shared.connect() as conn:
            if not _exists(conn, "pg_roles", "rolname", description.namespace.site_role):
                conn.execute(sql.SQL("create role {} nologin").format(site))
                made.append(f"role {description.namespace.site_role}")
            if not _exists(conn, "pg_database", "datname", description.name):
                with database.long_statement(conn, 120):
                    conn.execute(
                        sql.SQL("create database {} encoding 'UTF8' template template0").format(
                            name
                        )
                    )
                made.append(f"database {description.name}")
            # Whatever was made: a command that was killed has made a part only.
            for statement in _rights(description):
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
        if not _exists(conn, "pg_database", "datname", name):
            return [f"there is no database {name}; `recsys recommender add {name}` makes it"]
        found = []
        if not _exists(conn, "pg_roles", "rolname", role):
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


def remove(
    description: Description,
    file: Path,
    shared: Services,
    *,
    even_served: bool,
    forget: Callable[[Sequence[str]], int] | None = None,
) -> Iterator[str]:
    """Removes a recommender: its DAGs, database, role, objects and history, and nothing else.

    It can be repeated after it was interrupted. The description is the last that goes: until then
    it has another name, so that there are no DAGs.

    Args:
        description: the recommender.
        file: the file of the description, with or without `REMOVING`.
        shared: servers whose account may drop the database and the role.
        even_served: also if a release is served.
        forget: deletes what Airflow's database has of DAGs, and returns of how many; None: that is
            out of reach.

    Yields:
        What is gone.

    Raises:
        ConfigurationError: it is the first recommender, which has its servers to itself.
        LedgerError: a release is served, or the objects belong to another ledger.
        TransientError: a run or a reader is connected.
    """
    _check_own_names(description)
    _refuse_another_database(description, shared, may_be_empty=False)
    name, site = _identifiers(description)
    own = services_of(description, shared)
    # A removal that was interrupted has checked it.
    if file.suffix != REMOVING:
        check_removable(description, shared, even_served=even_served)
        file = file.rename(file.with_name(file.name + REMOVING))
        yield "its DAGs"
    with shared.connect() as conn:
        if _exists(conn, "pg_database", "datname", description.name):
            try:
                with database.long_statement(conn, 120):
                    conn.execute(sql.SQL("drop database {}").format(name))
            except psycopg.errors.ObjectInUse as error:
                raise TransientError(
                    f"the database {description.name} is in use",
                    found=str(error.diag.message_detail or error).strip(),
                    hint="end its runs and readers, and repeat the command; its DAGs are gone",
                ) from error
            yield f"database {description.name}"
        if _exists(conn, "pg_roles", "rolname", description.namespace.site_role):
            conn.execute(sql.SQL("drop role {}").format(site))
            yield f"role {description.namespace.site_role}"
    keys = own.store.keys("")
    own.store.delete(keys)
    yield f"{len(keys)} objects in {own.store.location}"
    if forget is not None:
        yield f"the history of {forget(description.namespace.dag_ids)} DAGs"
    file.unlink()
    yield str(file)


def check_removable(description: Description, shared: Services, *, even_served: bool) -> bool:
    """Checks that a recommender may be removed; returns whether it has a ledger to export.

    Raises:
        ConfigurationError: it is the first recommender, which has its servers to itself, or
            somebody else's database has the name.
        LedgerError: a release is served, or the objects belong to another ledger.
    """
    _check_own_names(description)
    _refuse_another_database(description, shared, may_be_empty=False)
    own = services_of(description, shared)
    with shared.connect() as conn:
        is_there = _exists(conn, "pg_database", "datname", description.name)
    if not is_there or not _has_ledger(own):
        if own.store.keys(""):
            raise LedgerError(
                f"there are objects in {own.store.location}, and no ledger that they are of",
                expected=f"the database {description.name} with a ledger",
                hint="delete them yourself if they are not needed, and repeat the command",
            )
        return False
    with own.connect() as conn:
        champion = ledger.champion(conn)
        if champion is not None and not even_served:
            raise LedgerError(
                f"{description.name} serves a release",
                found=champion.release_id,
                hint="switch its readers off; then --even-served removes it",
            )
        releases.check_owner(conn, own.store)
    return True


def _has_ledger(own: Services) -> bool:
    with own.connect() as conn:
        return bool(ledger.applied(conn))


def _check_own_names(description: Description) -> None:
    if description.namespace.is_first:
        raise ConfigurationError(
            f"{description.name} has no database and no prefix of its own that could be dropped",
            hint="remove its file to remove its DAGs; its database and bucket are the connections'",
        )


def _refuse_another_database(
    description: Description, shared: Services, *, may_be_empty: bool
) -> None:
    """Raises ConfigurationError if the database of this name was not made for the recommender.

    One that was has the setting of `_rights`. One that is empty may have been made by an
    administrator, or by a command that was killed.
    """
    mark = f"recsys.site_role={description.namespace.site_role}"
    with shared.connect() as conn:
        if not _exists(conn, "pg_database", "datname", description.name):
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


def _rights(description: Description) -> list[sql.Composed]:
    name, site = _identifiers(description)
    return [
        sql.SQL("revoke all on database {} from public").format(name),
        sql.SQL("grant connect on database {} to {}").format(name, site),
        # So that also a connection that does not know the recommender grants to its readers.
        sql.SQL("alter database {} set recsys.site_role = {}").format(
            name, sql.Literal(description.namespace.site_role)
        ),
    ]


def _identifiers(description: Description) -> tuple[sql.Identifier, sql.Identifier]:
    return sql.Identifier(description.name), sql.Identifier(description.namespace.site_role)


def _exists(conn: Connection, catalog: str, column: str, name: str) -> bool:
    query = sql.SQL("select from {} where {} = %s").format(
        sql.Identifier(catalog), sql.Identifier(column)
    )
    return conn.execute(query, (name,)).fetchone() is not None
