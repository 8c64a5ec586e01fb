"""Tables of vectors in PostgreSQL: loads and indexes a release's own tables atomically."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from recsys import contract
from recsys.contract import PUBLIC_TABLES, PublicTable
from recsys.database import Connection, long_statement
from recsys.errors import ConfigurationError, LockedError, VectorError
from recsys.vectors.index import build_index
from recsys.vectors.rows import COLUMN_TYPE, VectorRows

MIN_PGVECTOR: Final = (0, 8, 4)
"""Oldest version accepted; older ones have known defects in HNSW (pgvector's CHANGELOG)."""
LOCK_TIMEOUT: Final = "10s"
# An arbitrary constant that differs from those of other advisory locks.
_EXTENSION_LOCK: Final = 0x5EC5_0010


@dataclass(frozen=True)
class LoadedTable:
    """Result of `load_vectors`.

    Attributes:
        table: name in the schema ``recsys``.
        rows: number of vectors.
        dim: dimension of the vectors.
        digest: sha256 of the content, 64 hex digits.
        loaded: False if the table already had this content.
        index_s: seconds taken to build the index; 0 if none was built.
    """

    table: str
    rows: int
    dim: int
    digest: str
    loaded: bool
    index_s: float = 0.0


def enable_vector_extension(conn: Connection) -> None:
    """Ensures that the schema ``recsys`` and pgvector 0.8.4 or newer exist.

    Raises:
        ConfigurationError: pgvector is missing or too old, and cannot be installed or updated.
    """
    expected = f"pgvector {'.'.join(map(str, MIN_PGVECTOR))} or newer"
    try:
        with conn.transaction():
            # "if not exists" alone fails if two sessions create at the same time.
            conn.execute("select pg_advisory_xact_lock(%s)", (_EXTENSION_LOCK,))
            if _schema_is_missing(conn, contract.LEDGER_SCHEMA):
                conn.execute(
                    sql.SQL("create schema {}").format(sql.Identifier(contract.LEDGER_SCHEMA))
                )
            # Not in the first schema of the search path, which is renamed at each promotion.
            _create_extension(conn, expected)
            _check_type_is_found(conn)
            if _pgvector(conn) < MIN_PGVECTOR:
                conn.execute("alter extension vector update")
            version = _pgvector(conn)
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise ConfigurationError(
            "the PostgreSQL server has no pgvector",
            found=str(error).splitlines()[0],
            expected=expected,
            hint="install pgvector on the server (the embedded stack includes it)",
        ) from error
    if version < MIN_PGVECTOR:
        raise ConfigurationError(
            "pgvector is too old: its indexes have known defects",
            found=".".join(map(str, version)),
            expected=expected,
            hint="upgrade pgvector on the server, then run: alter extension vector update",
        )


def _create_extension(conn: Connection, expected: str) -> None:
    try:
        conn.execute("create extension if not exists vector schema public")
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "this role may not create the extension pgvector",
            found=str(error).splitlines()[0],
            expected=expected,
            hint="ask an administrator to run: create extension vector schema public",
        ) from error


def _schema_is_missing(conn: Connection, name: str) -> bool:
    # "create schema if not exists" needs the right to create one even if it exists.
    return conn.execute("select to_regnamespace(%s)", (name,)).fetchone() == (None,)


def _check_type_is_found(conn: Connection) -> None:
    """Fails if pgvector is in a schema that sessions do not search, as some providers install it.

    Raises:
        ConfigurationError: its types are not found by name.
    """
    if conn.execute("select to_regtype('vector')").fetchone() != (None,):
        return
    [(schema, path)] = conn.execute(
        "select n.nspname, current_setting('search_path') from pg_extension e "
        "join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'"
    ).fetchall()
    database = sql.Identifier(conn.info.dbname).as_string()
    quoted = sql.Identifier(schema).as_string()
    raise ConfigurationError(
        "pgvector is in a schema that is not on the search path",
        found=f"schema {schema}; search_path is {path}",
        expected="its types and operators, found by name by the pipeline and by readers",
        hint="an administrator runs: "
        f"alter database {database} set search_path = {path}, {quoted}; "
        f"grant usage on schema {quoted} to {sql.Identifier(conn.info.user).as_string()}",
    )


def load_vectors(
    conn: Connection,
    table: PublicTable,
    release_id: str,
    ids: NDArray[Any],
    vectors: NDArray[Any],
    extra: Mapping[str, Sequence[Any] | pl.Series] | None = None,
) -> LoadedTable:
    """Loads and indexes a release's own table, in one transaction.

    A table with the same content is left unchanged. A table with other content is replaced.

    Args:
        conn: a connection outside a transaction.
        table: the public table.
        release_id: the release.
        ids: integers (n,), unique.
        vectors: floats (n, ``table.dimension``).
        extra: n values for each extra column of the table.

    Raises:
        VectorError: a count, dimension or value is wrong; the index did not fit into memory; or
            the public names use the table with other content.
        LockedError: another session locks the table.
    """
    name = contract.table_name(table.name, release_id)
    rows = VectorRows.check(table, ids, vectors, extra)
    loaded = LoadedTable(name, len(rows.ids), table.dimension, rows.digest, True)
    relation = sql.Identifier(contract.LEDGER_SCHEMA, name)
    # The index of 84,432 movies takes 11 to 19 s: this is ten times as long.
    limit_s = 60 + loaded.rows / 500
    with conn.transaction(), long_statement(conn, limit_s), _lock_timeout(conn, name):
        # Two runs may load the same release: the second one waits, then finds the content.
        conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
        if _facts(conn, name).get("digest") == rows.digest:
            return replace(loaded, loaded=False)
        conn.execute(sql.SQL("drop table if exists {}").format(relation))
        _create(conn, relation, table)
        statement = sql.SQL("copy {} ({}) from stdin (format binary, freeze)").format(
            relation, sql.SQL(", ").join(map(sql.Identifier, table.columns))
        )
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in (rows.outermost_first() if table.indexed else rows).copy_chunks():
                copy.write(chunk)
        conn.execute(
            sql.SQL("alter table {} add primary key ({})").format(
                relation, sql.Identifier(table.id_column)
            )
        )
        if table.indexed:
            index_s = build_index(conn, relation, table, loaded.rows)
            loaded = replace(loaded, index_s=index_s)
        facts = json.dumps({"digest": rows.digest, "rows": loaded.rows, "release_id": release_id})
        conn.execute(sql.SQL("comment on table {} is {}").format(relation, sql.Literal(facts)))
        conn.execute(sql.SQL("analyze {}").format(relation))
    return loaded


def drop_vectors(conn: Connection, release_id: str) -> None:
    """Drops all tables of a release in one transaction; missing tables are no error.

    Raises:
        LockedError: another session has locked one of them for too long.
        VectorError: the public names use one of them.
    """
    names = [contract.table_name(table.name, release_id) for table in PUBLIC_TABLES]
    with conn.transaction(), _lock_timeout(conn, ", ".join(names)):
        for name in names:
            relation = sql.Identifier(contract.LEDGER_SCHEMA, name)
            conn.execute(sql.SQL("drop table if exists {}").format(relation))


@contextmanager
def _lock_timeout(conn: Connection, what: str) -> Iterator[None]:
    """Sets the lock timeout of the current transaction and translates its errors."""
    conn.execute("select set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"recsys.{what} is locked by another session",
            found=f"waited {LOCK_TIMEOUT}",
            hint="try again",
        ) from error
    except psycopg.errors.DependentObjectsStillExist as error:
        raise VectorError(
            f"recsys.{what} is used by the public names",
            found=error.diag.message_detail,
            hint="a release never changes; promote another one before dropping this one",
        ) from error


def _pgvector(conn: Connection) -> tuple[int, ...]:
    row = conn.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
    return tuple(int(part) for part in re.findall(r"\d+", row[0])) if row else ()


def _facts(conn: Connection, name: str) -> dict[str, Any]:
    """Reads the facts in the comment of a table; empty if there are none."""
    row = conn.execute(
        "select obj_description(to_regclass(%s), 'pg_class')", (f"{contract.LEDGER_SCHEMA}.{name}",)
    ).fetchone()
    try:
        facts = json.loads(row[0]) if row and row[0] else {}
    except json.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _create(conn: Connection, relation: sql.Identifier, table: PublicTable) -> None:
    columns = [
        sql.SQL("{} {} not null").format(sql.Identifier(table.id_column), sql.SQL(table.id_type)),
        sql.SQL("vector {}({}) not null").format(
            sql.Identifier(COLUMN_TYPE), sql.Literal(table.dimension)
        ),
        *(
            # `VectorRows.check` accepts no other SQL type.
            sql.SQL("{} {}[] not null").format(sql.Identifier(column), sql.SQL(table.id_type))
            for column, _ in table.extra_columns
        ),
    ]
    conn.execute(sql.SQL("create table {} ({})").format(relation, sql.SQL(", ").join(columns)))
