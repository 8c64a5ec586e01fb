"""The identity of a ledger, which its bucket repeats."""

from __future__ import annotations

from recsys.database import Connection


def ledger_id(conn: Connection) -> str:
    """Returns the id of this ledger: a UUID, made with the ledger and kept by its dumps."""
    [(found,)] = conn.execute("select ledger_id::text from recsys.identity").fetchall()
    return str(found)
