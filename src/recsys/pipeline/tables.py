"""Loads vectors into a table of a release and records the table in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys import ledger, vectors
from recsys.contract import PublicTable
from recsys.pipeline.run import Run, working
from recsys.services import Services


def load_table(
    services: Services,
    run: Run,
    table: PublicTable,
    ids: Any,
    matrix: Any,
    extra: Mapping[str, Any],
    more_facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Loads vectors and records their table in the ledger.

    Args:
        services: PostgreSQL and S3.
        run: the run whose release the table belongs to.
        table: the public table; its ids get the width of the build's.
        ids: unique ids, shape (rows,).
        matrix: vectors, float32, shape (rows, dim).
        extra: values of the table's other columns by name, one value per row.
        more_facts: other facts to record, as JSON values.

    Returns:
        Facts of the table: rows, digest, and `more_facts`.
    """
    with working(services, run), services.connect() as conn:
        table = table.with_ids(run.build.features.id_bits)
        loaded = vectors.load_vectors(conn, table, run.release_id, ids, matrix, extra)
        facts = {"rows": loaded.rows, "digest": loaded.digest, **(more_facts or {})}
        ledger.record_table(conn, run.release_id, table.name, facts)
    return facts
