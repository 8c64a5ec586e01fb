"""The HNSW index of a table of vectors, built in memory that is sized from the number of rows."""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg import sql

from recsys.contract import PublicTable
from recsys.errors import VectorError
from recsys.vectors.search import OPERATOR_CLASS, Connection

M: Final = 16
"""hnsw.m: neighbors kept on each level, twice as many on the lowest."""
EF_CONSTRUCTION: Final = 100
"""hnsw.ef_construction: candidates that the insertion of a row looks at."""
# Two workers halve the build; below this many rows starting them takes longer than they save.
_PARALLEL_FROM_ROWS: Final = 20_000
_WORKERS: Final = 2


def build_index(conn: Connection, relation: sql.Identifier, table: PublicTable, rows: int) -> float:
    """Builds the HNSW index of a table, in the current transaction.

    Args:
        conn: inside a transaction.
        relation: the release's own table.
        table: which of the public tables it is.
        rows: rows that it holds.

    Returns:
        Seconds that it took.

    Raises:
        VectorError: the index did not fit into memory.
    """
    started = time.perf_counter()
    memory_mb = index_memory_mb(rows, table.dimension)
    outgrown: list[str] = []

    def listen(notice: psycopg.errors.Diagnostic) -> None:
        if "no longer fits" in (notice.message_primary or ""):
            outgrown.append(notice.message_primary or "")

    statement = sql.SQL(
        "create index on {} using hnsw (vector {}) with (m = {}, ef_construction = {})"
    ).format(
        relation,
        sql.Identifier(OPERATOR_CLASS[table.metric]),
        sql.Literal(M),
        sql.Literal(EF_CONSTRUCTION),
    )
    workers = _WORKERS if rows >= _PARALLEL_FROM_ROWS else 0
    conn.execute(
        "select set_config('maintenance_work_mem', %s, true), "
        # The planner otherwise goes by the size of the heap, which says little about the work.
        "set_config('min_parallel_table_scan_size', '0', true)",
        (f"{memory_mb}MB",),
    )
    conn.add_notice_handler(listen)
    try:
        try:
            _build(conn, statement, workers)
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
            if not workers:
                raise
            # Workers share the graph in /dev/shm, which containers often keep at 64 MB.
            _build(conn, statement, 0)
    finally:
        conn.remove_notice_handler(listen)
    if outgrown:
        raise VectorError(
            "the index did not fit into memory while it was built",
            found=outgrown[0],
            expected=f"{memory_mb} MB to be enough",
            hint="this is a fault of index_memory_mb; report it with the number of rows",
        )
    return time.perf_counter() - started


def index_memory_mb(rows: int, dim: int) -> int:
    """Megabytes that building an HNSW index of `M` neighbors takes, generously.

    Per row: the vector, an element of about 150 bytes, and 32 neighbors of 16 bytes on the lowest
    level, a sixteenth of that above, rounded up by the allocator; twice that is asked for.
    """
    return 64 + rows * 2 * (2 * dim + 150 + 700) // 2**20


def _build(conn: Connection, statement: sql.Composed, workers: int) -> None:
    with conn.transaction():
        conn.execute(
            "select set_config('max_parallel_maintenance_workers', %s, true)", (str(workers),)
        )
        conn.execute(statement)
