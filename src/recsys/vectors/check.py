"""Checks a release's table of vectors: its content, and the recall and latency of its index."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from psycopg import sql
from pydantic import BaseModel, ConfigDict

from recsys import contract
from recsys.contract import PUBLIC_TABLES, PublicTable
from recsys.database import Connection
from recsys.errors import VectorError
from recsys.vectors.rows import COLUMN_TYPE
from recsys.vectors.search import (
    OPERATOR,
    OPERATOR_CLASS,
    SEARCH_WIDTH,
    set_search_width,
)

MIN_RECALL: Final = 0.95
CHECKED_QUERIES: Final = 200
"""Number of queries."""
_NEIGHBORS: Final = 10


class VectorMeasurements(BaseModel):
    """Measurements of `check_vectors`.

    Attributes:
        table: name in the schema ``recsys``.
        rows: number of rows.
        dim: dimension of the vectors.
        nulls: number of rows without a vector.
        nans: number of vectors with a NaN component.
        zeros: number of vectors of length 0.
        recall_at_10: share of the exact 10 nearest neighbors that the index finds; None without
            an index.
        p50_ms: median latency of an indexed query, in milliseconds; None without an index.
        p99_ms: 99th percentile of that latency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    rows: int
    dim: int
    nulls: int
    nans: int
    zeros: int
    recall_at_10: float | None
    p50_ms: float | None
    p99_ms: float | None


def check_vectors(
    conn: Connection,
    table: PublicTable,
    release_id: str,
    *,
    expected_rows: int,
    sample: int = CHECKED_QUERIES,
    min_recall: float = MIN_RECALL,
) -> VectorMeasurements:
    """Checks that a release's table is complete and that the recall of its index is sufficient.

    Recall compares the distances of the index's 10 nearest neighbors with those of an exact scan,
    so that equal vectors are interchangeable. The query vectors are those that the site will use:
    the table's own for cosine, the release's user towers for inner product.

    Args:
        conn: a connection outside a transaction.
        table: the public table.
        release_id: the release.
        expected_rows: expected number of vectors.
        sample: number of queries.
        min_recall: minimum mean recall at 10.

    Raises:
        VectorError: the table is missing, its content is wrong, or the recall is too low.
    """
    name = contract.table_name(table.name, release_id)
    if not _exists(conn, name):
        raise VectorError(f"there is no table recsys.{name}", hint="load the vectors again")
    relation = sql.Identifier(contract.LEDGER_SCHEMA, name)
    row = conn.execute(
        sql.SQL(
            "select count(*), count(*) filter (where vector is null), "
            "count(*) filter (where l2_norm(vector) = 'NaN'), "
            "count(*) filter (where l2_norm(vector) = 0), "
            "coalesce(min(vector_dims(vector)), 0), coalesce(max(vector_dims(vector)), 0) from {}"
        ).format(relation)
    ).fetchone()
    rows, nulls, nans, zeros, shortest, longest = row or (0, 0, 0, 0, 0, 0)
    faults = [
        f"{count} {what}"
        for count, what in ((nulls, "nulls"), (nans, "vectors with NaN"), (zeros, "zero vectors"))
        if count
    ]
    if rows != expected_rows:
        faults.append(f"{rows} rows instead of {expected_rows}")
    if {shortest, longest} != {table.dimension}:
        faults.append(f"dimensions {shortest} to {longest} instead of {table.dimension}")
    if table.indexed and not _index_is_valid(conn, name, table):
        faults.append("no valid index")
    if faults:
        raise VectorError(
            f"recsys.{name} is not as it was loaded",
            found=", ".join(faults),
            hint="load the vectors again",
        )
    recall = p50 = p99 = None
    if table.indexed:
        recall, p50, p99 = _measure_index(conn, table, release_id, sample)
        if recall < min_recall:
            raise VectorError(
                f"the index of recsys.{name} has a low recall",
                found=f"recall@{_NEIGHBORS} {recall:.3f}",
                expected=f"at least {min_recall}",
                hint="look at the vectors: many equal ones, or very different lengths, spoil HNSW",
            )
    return VectorMeasurements(
        table=name,
        rows=rows,
        dim=longest,
        nulls=nulls,
        nans=nans,
        zeros=zeros,
        recall_at_10=recall,
        p50_ms=p50,
        p99_ms=p99,
    )


def _exists(conn: Connection, name: str) -> bool:
    row = conn.execute("select to_regclass(%s)", (f"{contract.LEDGER_SCHEMA}.{name}",)).fetchone()
    return row is not None and row[0] is not None


def _index_is_valid(conn: Connection, name: str, table: PublicTable) -> bool:
    row = conn.execute(
        "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid "
        "join pg_am a on a.oid = c.relam join pg_opclass o on o.oid = i.indclass[0] "
        "where i.indrelid = to_regclass(%s) and a.amname = 'hnsw' and o.opcname = %s "
        "and i.indisvalid and i.indisready",
        (f"{contract.LEDGER_SCHEMA}.{name}", OPERATOR_CLASS[table.metric]),
    ).fetchone()
    return row is not None and row[0] > 0


def _measure_index(
    conn: Connection, table: PublicTable, release_id: str, sample: int
) -> tuple[float, float, float]:
    """Returns recall@10 against an exact scan, and p50 and p99 latency of the index, in ms."""
    relation = sql.Identifier(contract.LEDGER_SCHEMA, contract.table_name(table.name, release_id))
    source = query_table(conn, table, release_id)
    queries = [
        row[0]
        for row in conn.execute(
            # A pseudo-random sample that is the same each time, for ids of 32 and 64 bits.
            sql.SQL("select vector::text from {} order by hashint8({}) limit %s").format(
                sql.Identifier(
                    contract.LEDGER_SCHEMA, contract.table_name(source.name, release_id)
                ),
                sql.Identifier(source.id_column),
            ),
            (sample,),
        )
    ]
    nearest = sql.SQL(
        "select vector {op} %s::{type} from {relation} order by vector {op} %s::{type} limit %s"
    ).format(
        op=sql.SQL(OPERATOR[table.metric]), type=sql.Identifier(COLUMN_TYPE), relation=relation
    )

    def distances(query: str) -> list[float]:
        # A prepared statement may keep the plan of the exact scan, whatever is set afterwards.
        parameters = (query, query, _NEIGHBORS)
        return [row[0] for row in conn.execute(nearest, parameters, prepare=False)]

    with conn.transaction():
        conn.execute("select set_config('enable_indexscan', 'off', true)")
        exact = [distances(query) for query in queries]
    recalls, seconds = [], []
    with conn.transaction():
        set_search_width(conn, SEARCH_WIDTH)
        # The planner would scan a small table instead of using its index.
        conn.execute("select set_config('enable_seqscan', 'off', true)")
        for query, best in zip(queries, exact, strict=True):
            start = time.perf_counter()
            approximate = distances(query)
            seconds.append(time.perf_counter() - start)
            limit = best[-1] + 1e-6 * max(1.0, abs(best[-1]))
            recalls.append(sum(distance <= limit for distance in approximate) / len(best))
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return float(np.mean(recalls)), float(p50), float(p99)


def query_table(conn: Connection, table: PublicTable, release_id: str) -> PublicTable:
    """Returns the table whose vectors the site uses as queries against ``table``."""
    for other in PUBLIC_TABLES:
        if (
            not other.indexed
            and other.metric == table.metric
            and _exists(conn, contract.table_name(other.name, release_id))
        ):
            return other
    return table
