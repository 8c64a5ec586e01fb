"""Recovery: undoing what an interrupted promotion or rollback has left behind.

An open journal always means that the commit did not happen; everything public in S3 can be made
again from the champion. So recovery needs nothing but the ledger, and can be run at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from recsys import ledger
from recsys.database import Connection
from recsys.releases import public_copies, public_names
from recsys.releases.lock import promotion_lock
from recsys.services import Services

log = logging.getLogger(__name__)

Trace = Callable[[str], None]
"""Called with the name of each step as it is reached; the crash tests kill the process there."""


def ignore_step(step: str) -> None:
    """Does nothing; see `Trace`."""


@dataclass(frozen=True)
class Recovery:
    """What recovery found and did."""

    undone: str | None
    """The release whose interrupted promotion was undone."""
    copies_restored: bool

    @property
    def needed(self) -> bool:
        """Whether anything was out of order."""
        return self.undone is not None or self.copies_restored


def recover_promotion(
    services: Services, *, actor: str, reason: str = "recovery", trace: Trace = ignore_step
) -> Recovery:
    """Undoes an interrupted promotion and makes the public copies equal the champion.

    Idempotent; the first thing that every run does, a DAG of its own, and a command.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        public_names.ensure_search_path(conn)
    with promotion_lock(services) as conn:
        return recover_locked(conn, services, actor=actor, reason=reason, trace=trace)


def recover_locked(
    conn: Connection, services: Services, *, actor: str, reason: str, trace: Trace = ignore_step
) -> Recovery:
    """`recover_promotion` for a session that holds the promotion lock already."""
    trace("recovery begun")
    champion = ledger.champion(conn)
    row = conn.execute(
        "select id, kind, to_release from recsys.journal where closed_at is null"
    ).fetchone()
    if row is None and public_copies.public_copies_match(services.store, champion):
        return Recovery(undone=None, copies_restored=False)
    public_copies.restore(services.store, champion)
    trace("public copies restored")
    if row is None:
        ledger.note(
            conn,
            "public copies mended",
            actor=actor,
            reason=reason,
            release_id=champion.release_id if champion else None,
        )
        return Recovery(undone=None, copies_restored=True)
    journal_id, kind, to_release = row
    with conn.transaction():
        conn.execute(
            "update recsys.journal set closed_at = clock_timestamp(), outcome = 'undone' "
            "where id = %s",
            (journal_id,),
        )
        ledger.note(conn, f"{kind} undone", actor=actor, reason=reason, release_id=to_release)
    trace("journal closed as undone")
    log.warning("undid the interrupted %s of release %s", kind, to_release)
    return Recovery(undone=to_release, copies_restored=True)
