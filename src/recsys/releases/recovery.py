"""Recovery: undoes an interrupted promotion or rollback.

An open journal always means that the commit did not happen, and everything public in S3 can be
copied again from the champion. So recovery needs only the ledger and can run at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from recsys import ledger
from recsys.database import Connection
from recsys.ledger import Action, Actor
from recsys.releases import public_copies, public_names
from recsys.releases.lock import promotion_lock
from recsys.services import Services

log = logging.getLogger(__name__)

Trace = Callable[[str], None]
"""Called with the name of each step when it is reached; crash tests kill the process there."""


def ignore_step(step: str) -> None:
    """A `Trace` that does nothing."""


@dataclass(frozen=True)
class Recovery:
    """Result of a recovery."""

    undone: str | None
    """The release whose interrupted promotion was undone."""
    copies_restored: bool

    @property
    def needed(self) -> bool:
        """Whether there was anything to recover."""
        return self.undone is not None or self.copies_restored


def recover_promotion(services: Services, *, actor: Actor, trace: Trace = ignore_step) -> Recovery:
    """Undoes an interrupted promotion and makes the public copies equal the champion.

    Idempotent. Every run does it first; it is also a DAG and a command.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        public_names.ensure_search_path(conn)
    with promotion_lock(services) as conn:
        return recover_locked(conn, services, actor=actor, trace=trace)


def recover_locked(
    conn: Connection, services: Services, *, actor: Actor, trace: Trace = ignore_step
) -> Recovery:
    """Does the work of `recover_promotion` in a session that holds the promotion lock."""
    trace("recovery begun")
    champion = ledger.champion(conn)
    journals = ledger.open_journals(conn)
    if not journals and public_copies.public_copies_match(services.store, champion):
        return Recovery(undone=None, copies_restored=False)
    public_copies.restore(services.store, champion)
    trace("public copies restored")
    if not journals:
        ledger.note(
            conn,
            Action.PUBLIC_COPIES_REPAIRED,
            actor=actor,
            release_id=champion.release_id if champion else None,
        )
        return Recovery(undone=None, copies_restored=True)
    [journal] = journals
    with conn.transaction():
        ledger.close_journal(conn, journal.journal_id, "undone")
        action = ledger.UNDONE[journal.kind]
        ledger.note(conn, action, actor=actor, release_id=journal.to_release)
    trace("journal closed as undone")
    log.warning("undid the interrupted %s of release %s", journal.kind, journal.to_release)
    return Recovery(undone=journal.to_release, copies_restored=True)
