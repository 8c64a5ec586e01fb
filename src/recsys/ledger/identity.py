"""The identity of a ledger, which its bucket repeats."""

from __future__ import annotations

from recsys.database import Connection
from recsys.errors import LedgerError


def ledger_id(conn: Connection) -> str:
    """Returns the id of this ledger: a UUID, made with the ledger and kept by its dumps.

    Raises:
        LedgerError: somebody deleted it.
    """
    row = conn.execute("select ledger_id::text from recsys.identity").fetchone()
    if row is None:
        raise LedgerError(
            "the ledger has lost its id",
            found="recsys.identity is empty",
            hint="insert the ledger_id that owner.json in the bucket contains into recsys.identity",
        )
    return str(row[0])
