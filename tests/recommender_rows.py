"""All rows of a recommender's database, to compare before and after what others go through."""

from __future__ import annotations

import psycopg
from psycopg import sql

from recsys.services import Services


def all_rows(services: Services) -> dict[str, list[str]]:
    """Rows by table, each with its place and transaction: a row written again differs."""
    found = {}
    with psycopg.connect(services.postgres.address()) as conn:
        for schema, table in conn.execute(
            "select schemaname, tablename from pg_tables where schemaname like 'recsys%'"
        ).fetchall():
            rows = conn.execute(
                sql.SQL("select ctid::text, xmin::text, t::text from {} t order by 1").format(
                    sql.Identifier(schema, table)
                )
            )
            found[f"{schema}.{table}"] = [str(row) for row in rows]
    return found
