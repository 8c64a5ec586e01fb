"""Builds the HNSW index of a table of vectors, in memory sized from the number of rows."""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg import sql

from recsys.contract import PublicTable
from recsys.database import Connection
from recsys.errors import VectorError
from recsys.vectors.search import OPERATOR_CLASS

M: Final = 16
"""hnsw.m: maximum connections of a row per level; twice as many on the lowest."""
EF_CONSTRUCTION: Final = 100
"""hnsw.ef_construction: size of the candidate list when a row is inserted."""
# Two workers halve the build; for fewer rows, starting them takes longer than they save.
PARALLEL_FROM_ROWS: Final = 20_000
_WORKERS: Final = 2


def build_index(conn: Connection, relation: sql.Identifier, table: PublicTable, rows: int) -> float:
    """Builds the HNSW index of a table, in the current transaction.

    Args:
        conn: inside a transaction.
        relation: the release's own table.
        table: the public table.
        rows: number of its rows.

    Returns:
        Seconds taken.

    Raises:
        VectorError: the index did not fit into memory.
    """
    started = time.perf_counter()
    memory_mb = index_memory_mb(rows, table.dimension)
    memory_notices: list[str] = []

    def on_notice(notice: psycopg.errors.Diagnostic) -> None:
        if "no longer fits" in (notice.message_primary or ""):
            memory_notices.append(notice.message_primary or "")

    statement = sql.SQL(
        "create index on {} using hnsw (vector {}) with (m = {}, ef_construction = {})"
    ).format(
        relation,
        sql.Identifier(OPERATOR_CLASS[table.metric]),
        sql.Literal(M),
        sql.Literal(EF_CONSTRUCTION),
    )
    workers = _WORKERS if rows >= PARALLEL_FROM_ROWS else 0
    conn.execute(
        "select set_config('maintenance_work_mem', %s, true), "
        # Otherwise the planner chooses the workers by the size of the heap, not by the work.
        "set_config('min_parallel_table_scan_size', '0', true)",
        (f"{memory_mb}MB",),
    )
    conn.add_notice_handler(on_notice)
    try:
        try:
            _build(conn, statement, workers)
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
            if not workers:
                raise
            # Workers share the graph in /dev/shm, which is only 64 MB in many containers.
            _build(conn, statement, 0)
    finally:
        conn.remove_notice_handler(on_notice)
    if memory_notices:
        raise VectorError(
            "the index did not fit into memory during its build",
            found=memory_notices[0],
            expected=f"{memory_mb} MB to suffice",
            hint="this is a defect of index_memory_mb; report it with the number of rows",
        )
    return time.perf_counter() - started


def index_memory_mb(rows: int, dim: int) -> int:
    """Returns an upper estimate of the memory for building an HNSW index, in megabytes.

    A row takes its vector, an element of about 150 bytes, and 32 neighbors (`M` x 2) of 16 bytes on
    the lowest level, plus a sixteenth of that on higher levels, rounded up by the allocator. The
    estimate is twice that.
    """
    return 64 + rows * 2 * (2 * dim + 150 + 700) // 2**20


def _build(conn: Connection, statement: sql.Composed, workers: int) -> None:
    with conn.transaction():
        conn.execute(
            "select set_config('max_parallel_maintenance_workers', %s, true)", (str(workers),)
        )
        conn.execute(statement)
