"""What an administrator has to change before the database serves the site.

These are errors that no later attempt changes: a pooler that cannot be used, or an account that
lacks a right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

ROLE: Final = "recsys_site"
_POOLERS: Final = (
    (
        "statement pooling mode",
        "the connection pooler in front of the database is in statement mode, which refuses "
        "transactions: set its pool_mode to transaction or session, or use the direct address",
    ),
    (
        "unsupported startup parameter",
        "the connection pooler in front of the database refuses a parameter of the connection: "
        "remove options from RECSYS_SITE_DSN and unset PGOPTIONS, PGGEQO and the like, or add the "
        "parameter to ignore_startup_parameters of the pooler",
    ),
)
"""Parts of PgBouncer's answers, and what they mean."""
_NO_CONNECT: Final = "permission denied for database"
_BY_PIPELINE: Final = re.compile("grant select on |grant usage on schema recsys ")
_UNSUITABLE: Final = (
    psycopg.errors.InsufficientPrivilege,
    # Without the right to use pgvector's schema, its types and operators do not exist.
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
)
_ACCOUNT: Final = """
select quote_ident(current_user), current_setting('server_version_num')::int >= 160000,
       (select pg_has_role(current_user, oid, 'member') from pg_roles where rolname = %(role)s),
       (select pg_has_role(current_user, oid, 'usage') from pg_roles where rolname = %(role)s)
"""
# Names are looked up in the catalog: functions that take names need the rights that may be missing.
_MISSING: Final = """
with wanted (schema, relation) as (
    select 'recsys', 'current_release'
    union select split_part(name, '.', 1), split_part(name, '.', 2)
    from unnest(%(tables)s::text[]) as name
), schemas as (
    select n.oid, n.nspname from pg_namespace n
    where n.nspname in (select schema from wanted)
       or n.oid = (select extnamespace from pg_extension where extname = 'vector')
)
select format('grant usage on schema %%I to %%I', nspname, %(role)s::text)
from schemas where not has_schema_privilege(oid, 'usage')
union all
select format('grant select on %%I.%%I to %%I', n.nspname, c.relname, %(role)s::text)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join wanted w on w.schema = n.nspname and w.relation = c.relname
where not has_table_privilege(c.oid, 'select')
union all
select format('alter role %%I set search_path = %%s, %%I',
              current_user, current_setting('search_path'), n.nspname)
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector' and has_schema_privilege(n.oid, 'usage')
  and n.nspname <> all (current_schemas(true))
"""


def unusable_pooler(error: BaseException | None) -> str | None:
    """Returns why the site cannot work with a pooler, and what to do; None for other errors."""
    text = str(error) if isinstance(error, psycopg.OperationalError) else ""
    return next((meaning for part, meaning in _POOLERS if part in text), None)


def lacks_a_right(error: BaseException | None) -> bool:
    """Whether the database refuses the site's account something; `describe` says what."""
    return (
        isinstance(error, psycopg.errors.InsufficientPrivilege)
        or (isinstance(error, _UNSUITABLE) and hasattr(error, "__notes__"))
        or (isinstance(error, psycopg.OperationalError) and _NO_CONNECT in str(error))
    )


@contextmanager
def explained_connection(dsn: str) -> Iterator[None]:
    """Adds a note to the error of a connection that no later attempt changes: what to do."""
    try:
        yield
    except psycopg.OperationalError as error:
        note = unusable_pooler(error)
        if _NO_CONNECT in str(error):
            name = sql.Identifier(str(conninfo_to_dict(dsn).get("dbname"))).as_string()
            note = _advice([f"grant connect on database {name} to {ROLE}"])
        if note:
            _add(error, note)
        raise


@contextmanager
def explained_rights(session: psycopg.Connection[Any], tables: list[str]) -> Iterator[None]:
    """Adds a note to the error of a statement: the grants that the account lacks, if any.

    Args:
        session: outside of a transaction.
        tables: tables of the release in use, with their schema.
    """
    try:
        yield
    except _UNSUITABLE as error:
        try:
            statements = missing_grants(session, tables)
        except psycopg.Error:
            statements = []
        if statements:
            _add(error, _advice(statements))
        raise


def missing_grants(session: psycopg.Connection[Any], tables: list[str]) -> list[str]:
    """Returns the statements that give the session's account the rights that it lacks.

    Args:
        session: outside of a transaction.
        tables: tables of the release in use, with their schema.
    """
    with session.cursor(row_factory=tuple_row) as cur:
        row = cur.execute(_ACCOUNT, {"role": ROLE}, prepare=False).fetchone()
        account, is_newer, is_member, inherits = row or ("", False, None, None)
        if is_member is None:
            return [f"create role {ROLE} nologin", f"grant {ROLE} to {account}"]
        if not is_member:
            return [f"grant {ROLE} to {account}"]
        if not inherits:
            more = f"grant {ROLE} to {account} with inherit true"
            return [more if is_newer else f"alter role {account} inherit"]
        values = {"role": ROLE, "tables": tables}
        return [statement for (statement,) in cur.execute(_MISSING, values, prepare=False)]


def _advice(statements: list[str]) -> str:
    advice = f"an administrator runs: {'; '.join(statements)}"
    if all(_BY_PIPELINE.match(statement) for statement in statements):
        # Before the first promotion, this is the usual state.
        advice += " (each promotion grants it, and `recsys recover`)"
    return advice


def _add(error: Exception, note: str) -> None:
    """Adds a note once: sessions are nested."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
