"""The list of the ledger's tables that an export copies."""

from __future__ import annotations

from recsys import ledger
from recsys.contract import PUBLIC_TABLES
from recsys.database import Connection
from recsys.ledger import COPIED_TABLES

FROM_THE_CODE = {"migrations", "release_moves"}


def test_no_table_of_the_ledger_is_forgotten(postgres_dsn: str) -> None:
    with Connection.connect(postgres_dsn, autocommit=True) as conn:
        ledger.prepare(conn)
        tables = {
            name
            for (name,) in conn.execute(
                "select relname from pg_class where relkind = 'r' "
                "and relnamespace = 'recsys'::regnamespace"
            )
        }
    of_releases = {t for t in tables if t.startswith(tuple(p.name for p in PUBLIC_TABLES))}
    assert tables - of_releases == {*COPIED_TABLES, *FROM_THE_CODE}
