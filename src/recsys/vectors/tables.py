"""Vectors in PostgreSQL: a release's own tables, loaded and indexed whole or not at all."""

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
from recsys.errors import ConfigurationError, LockedError, VectorError
from recsys.vectors.index import build_index
from recsys.vectors.rows import COLUMN_TYPE, VectorRows
from recsys.vectors.search import Connection

LEAST_PGVECTOR: Final = (0, 8, 4)
"""Older ones have known faults in their indexes (pgvector's CHANGELOG)."""
_LOCK_TIMEOUT: Final = "10s"
# Any constant serves; it must differ from the other advisory locks.
_EXTENSION_LOCK: Final = 0x5EC5_0010


@dataclass(frozen=True)
class LoadedTable:
    """What `load_vectors` left in the database.

    Attributes:
        table: name in the schema ``recsys``.
        rows: number of vectors.
        dim: their dimension.
        digest: sha256 of the content, 64 hex digits.
        loaded: False if the same content was there already.
        index_s: seconds that building the index took; 0 if none was built.
    """

    table: str
    rows: int
    dim: int
    digest: str
    loaded: bool
    index_s: float = 0.0


def enable_vector_extension(conn: Connection) -> None:
    """Makes sure of the schema ``recsys`` and of pgvector 0.8.4 or newer.

    Raises:
        ConfigurationError: pgvector is missing or too old and cannot be brought up here.
    """
    expected = f"pgvector {'.'.join(map(str, LEAST_PGVECTOR))} or newer"
    try:
        with conn.transaction():
            # "If not exists" alone still fails where two sessions create at once.
            conn.execute("select pg_advisory_xact_lock(%s)", (_EXTENSION_LOCK,))
            conn.execute(
                sql.SQL("create schema if not exists {}").format(
                    sql.Identifier(contract.LEDGER_SCHEMA)
                )
            )
            # Not into the first schema of the search path, which is renamed at every promotion.
            conn.execute("create extension if not exists vector schema public")
            if _pgvector(conn) < LEAST_PGVECTOR:
                conn.execute("alter extension vector update")
            found = _pgvector(conn)
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise ConfigurationError(
            "the PostgreSQL server has no pgvector",
            found=str(error).splitlines()[0],
            expected=expected,
            hint="install pgvector on the server (the embedded stack brings it)",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "this account may not enable pgvector",
            found=str(error).splitlines()[0],
            expected=expected,
            hint="let an administrator run: create extension vector schema public",
        ) from error
    if found < LEAST_PGVECTOR:
        raise ConfigurationError(
            "pgvector is too old: its indexes have known faults",
            found=".".join(map(str, found)),
            expected=expected,
            hint="upgrade pgvector on the server, then run: alter extension vector update",
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

    A table with the same content is left as it is; another is replaced.

    Args:
        conn: a connection outside a transaction.
        table: which of the public tables.
        release_id: the release.
        ids: integers (n,), unique.
        vectors: floats (n, dim), dim as the contract says.
        extra: values of the table's extra columns, n each.

    Raises:
        VectorError: a count, dimension or value is wrong; the index did not fit into memory; or
            the table is in use under the public names with other content.
        LockedError: someone holds the table.
    """
    name = contract.table_name(table.name, release_id)
    rows = VectorRows.check(table, ids, vectors, extra)
    loaded = LoadedTable(name, len(rows.ids), table.dimension, rows.digest, True)
    relation = sql.Identifier(contract.LEDGER_SCHEMA, name)
    with conn.transaction(), _locks(conn, name):
        # Two runs may load the same release; the second then finds the content there.
        conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
        if _facts(conn, name).get("digest") == rows.digest:
            return replace(loaded, loaded=False)
        conn.execute(sql.SQL("drop table if exists {}").format(relation))
        _create(conn, relation, table)
        statement = sql.SQL("copy {} ({}) from stdin (format binary, freeze)").format(
            relation, sql.SQL(", ").join(map(sql.Identifier, table.columns))
        )
        with conn.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in rows.copy_chunks():
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
    """Drops all tables of a release, together; those that are gone already are no error.

    Raises:
        LockedError: someone reads one of them for too long.
        VectorError: one is in use under the public names.
    """
    names = [contract.table_name(table.name, release_id) for table in PUBLIC_TABLES]
    with conn.transaction(), _locks(conn, ", ".join(names)):
        for name in names:
            relation = sql.Identifier(contract.LEDGER_SCHEMA, name)
            conn.execute(sql.SQL("drop table if exists {}").format(relation))


@contextmanager
def _locks(conn: Connection, what: str) -> Iterator[None]:
    """Bounds the waiting of the current transaction, and says in whose way it came."""
    conn.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"recsys.{what} is in use", found=f"waited {_LOCK_TIMEOUT}", hint="try again"
        ) from error
    except psycopg.errors.DependentObjectsStillExist as error:
        raise VectorError(
            f"recsys.{what} is in use under the public names",
            found=error.diag.message_detail,
            hint="a release never changes; promote another one before this is dropped",
        ) from error


def _pgvector(conn: Connection) -> tuple[int, ...]:
    row = conn.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
    return tuple(int(part) for part in re.findall(r"\d+", row[0])) if row else ()


def _facts(conn: Connection, name: str) -> dict[str, Any]:
    """What the comment of a table says of its content; empty if there is none."""
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
        sql.SQL("{} integer not null").format(sql.Identifier(table.id_column)),
        sql.SQL("vector {}({}) not null").format(
            sql.Identifier(COLUMN_TYPE), sql.Literal(table.dimension)
        ),
        *(
            # VectorRows lets only the one SQL type through that it can write.
            sql.SQL("{} integer[] not null").format(sql.Identifier(column))
            for column, _ in table.extra_columns
        ),
    ]
    conn.execute(sql.SQL("create table {} ({})").format(relation, sql.SQL(", ").join(columns)))
