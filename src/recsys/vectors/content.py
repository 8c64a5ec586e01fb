"""Compares the content of a release's table with the digest from when it was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from psycopg import sql

from recsys import contract
from recsys.contract import NARROW, WIDE, IdBits, PublicTable
from recsys.database import Connection, long_statement
from recsys.errors import VectorError
from recsys.evaluation import ID_TYPES
from recsys.vectors.rows import Ids, VectorRows, binary_item

_VECTOR_HEADER: Final = 4
"""Bytes before the components of a halfvec in its binary format: dimension, and a zero."""
_ARRAY_HEADER: Final = 20
"""Bytes before the items of a one-dimensional array without nulls."""


def content_is_as_loaded(
    conn: Connection, table: PublicTable, release_id: str, *, digest: str, rows: int
) -> bool:
    """Whether a release's table has the content that `load_vectors` gave it.

    Reads the whole table, which takes seconds for a large one.

    Args:
        conn: a connection outside a transaction.
        table: the public table.
        release_id: the release; its table must exist.
        digest: the digest that was recorded, 64 hex digits.
        rows: the number of rows that was recorded.
    """
    return _read_as_loaded(conn, table, release_id, digest, rows) is not None


def write_table(
    conn: Connection, table: PublicTable, release_id: str, path: Path, *, digest: str, rows: int
) -> None:
    """Writes a release's table to a file that `read_vectors` reads, with the same digest.

    Args:
        conn: a connection outside a transaction.
        table: the public table.
        release_id: the release; its table must exist.
        path: the new parquet file.
        digest: the digest that was recorded, 64 hex digits.
        rows: the number of rows that was recorded.

    Raises:
        VectorError: the table has another content.
    """
    stored = _read_as_loaded(conn, table, release_id, digest, rows)
    if stored is None:
        raise VectorError(
            f"recsys.{contract.table_name(table.name, release_id)} has changed since it was loaded",
            expected=f"digest {digest}, {rows} rows",
            hint="`recsys doctor --all` names what is damaged; retire the release, or roll back",
        )
    ids, vectors, extra = stored
    frame = pl.DataFrame({"id": ids, "vector": vectors.astype(np.float32), **extra})
    frame.cast({"vector": pl.Array(pl.Float32, table.dimension)}).write_parquet(path)


def _read_as_loaded(
    conn: Connection, table: PublicTable, release_id: str, digest: str, rows: int
) -> tuple[Ids, NDArray[np.float16], dict[str, pl.Series]] | None:
    """Reads a table in the order of its digest; None if it has another content."""
    table = _stored_as(conn, table, release_id)
    with long_statement(conn, 60 + rows / 500):
        stored = _copy_columns(conn, table, release_id)
    try:
        ids, vectors, extra = _decode(table, stored)
    except (ValueError, TypeError):
        # A null, or a list that load_vectors never writes.
        return None
    # A table is loaded in the order of its digest. A copy of a database may have another order.
    for order in (np.arange(len(ids)), np.argsort(ids, kind="stable")):
        ordered = {name: column.gather(order) for name, column in extra.items()}
        try:
            found = VectorRows.check(table, ids[order], vectors[order], ordered)
        except VectorError:
            return None
        if found.digest == digest:
            return ids[order], vectors[order], ordered
    return None


def _stored_as(conn: Connection, table: PublicTable, release_id: str) -> PublicTable:
    """Returns the public table with the type of ids that a release's table has."""
    name = contract.table_name(table.name, release_id)
    row = conn.execute(
        "select format_type(atttypid, null) from pg_attribute "
        "where attrelid = to_regclass(%s) and attname = %s and not attisdropped",
        (f"{contract.LEDGER_SCHEMA}.{name}", table.id_column),
    ).fetchone()
    return table.with_ids(WIDE if row == ("bigint",) else NARROW)


def _copy_columns(conn: Connection, table: PublicTable, release_id: str) -> list[list[Any]]:
    """Returns the values of each column, in stored order: ids, and else PostgreSQL's bytes."""
    relation = sql.Identifier(contract.LEDGER_SCHEMA, contract.table_name(table.name, release_id))
    statement = sql.SQL("copy {} ({}) to stdout (format binary)").format(
        relation, sql.SQL(", ").join(map(sql.Identifier, table.columns))
    )
    columns: list[list[Any]] = [[] for _ in table.columns]
    with conn.transaction(), conn.cursor() as cursor:
        # PostgreSQL begins a scan of a large table where another scan is.
        conn.execute("select set_config('synchronize_seqscans', 'off', true)")
        with cursor.copy(statement) as copy:
            copy.set_types([table.id_type, *["bytea"] * (len(columns) - 1)])
            for row in copy.rows():
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
    return columns


def _decode(
    table: PublicTable, columns: list[list[Any]]
) -> tuple[Ids, NDArray[np.float16], dict[str, pl.Series]]:
    """Returns ids (n,), vectors (n, dim) and the lists of the extra columns.

    Raises:
        ValueError, TypeError: a value is null or has another form.
    """
    ids, vectors, *lists = columns
    halves = np.frombuffer(b"".join(v[_VECTOR_HEADER:] for v in vectors), ">f2")
    extra = {
        name: pl.Series(
            name,
            [_items(value, table.id_bits) for value in values],
            dtype=pl.List(ID_TYPES[table.id_bits]),
        )
        for (name, _), values in zip(table.extra_columns, lists, strict=True)
    }
    shape = len(ids), halves.size // max(1, len(ids))
    made = np.array(ids, np.dtype(f"i{table.id_bits // 8}"))
    return made, halves.astype(np.float16).reshape(shape), extra


def _items(value: bytes, bits: IdBits) -> Ids:
    """Decodes PostgreSQL's binary format of an array without nulls."""
    # An empty array has a shorter header, and nothing behind it.
    found = np.frombuffer(value[_ARRAY_HEADER:], binary_item(bits))["value"]
    return found.astype(found.dtype.newbyteorder("="))
