"""What is stored of the tables of many releases, with two statements for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from recsys import contract
from recsys.contract import LEDGER_SCHEMA, PUBLIC_TABLES
from recsys.database import Connection, long_statement
from recsys.vectors.search import OPERATOR_CLASS


@dataclass(frozen=True)
class StoredTable:
    """A stored table of a release.

    Attributes:
        rows: number of rows whose vector is not null.
        has_index: whether it has a valid index for its metric.
    """

    rows: int
    has_index: bool


def stored_tables(conn: Connection, release_ids: Iterable[str]) -> dict[str, StoredTable]:
    """Returns the tables of some releases by name; a table that does not exist is left out."""
    classes = {
        contract.table_name(table.name, release_id): OPERATOR_CLASS[table.metric]
        for release_id in release_ids
        for table in PUBLIC_TABLES
    }
    found = conn.execute(
        "select t.name, exists (select from pg_index i join pg_class x on x.oid = i.indexrelid "
        "join pg_am a on a.oid = x.relam join pg_opclass o on o.oid = i.indclass[0] "
        "where i.indrelid = c.oid and a.amname = 'hnsw' and o.opcname = t.class "
        "and i.indisvalid and i.indisready) "
        "from unnest(%s::text[], %s::text[]) as t (name, class) "
        "join pg_class c on c.relname = t.name and c.relkind = 'r' "
        "join pg_namespace n on n.oid = c.relnamespace and n.nspname = %s "
        "where exists (select from pg_attribute where attrelid = c.oid and attname = 'vector' "
        "and not attisdropped)",
        (list(classes), list(classes.values()), LEDGER_SCHEMA),
    ).fetchall()
    if not found:
        return {}
    counts = sql.SQL(" union all ").join(
        sql.SQL("select {}::text, count(vector) from {}").format(
            sql.Literal(name), sql.Identifier(LEDGER_SCHEMA, name)
        )
        for name, _ in found
    )
    with long_statement(conn, 60.0 * len(found)):
        rows = dict(conn.execute(counts).fetchall())
    return {name: StoredTable(rows[name], has_index) for name, has_index in found}
