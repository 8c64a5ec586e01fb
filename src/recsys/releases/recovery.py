"""Recovery: undoes an interrupted promotion or rollback.

An open journal always means that the commit did not happen, and everything public in S3 can be
copied again from the champion. So recovery needs only the ledger and can run at any time. A
damaged champion does not block the ways away from it: promotion, rollback, retirement.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from recsys import ledger
from recsys.contract import LIVE_SCHEMA
from recsys.database import Connection
from recsys.errors import ArtifactError, LockedError, VectorError
from recsys.ledger import Action, Actor, Release, State
from recsys.object_store import ObjectStore
from recsys.releases import hiding, ownership, public_copies, public_names, site_access
from recsys.releases.lock import promotion_lock
from recsys.services import Services

log = logging.getLogger(__name__)

Trace = Callable[[str], None]
"""Called with the name of each step when it is reached; crash tests kill the process there."""


def ignore_step(step: str) -> None:
    """A `Trace` that does nothing."""


@dataclass(frozen=True)
class Recovery:
    """Result of a recovery.

    Attributes:
        undone: the release whose interrupted promotion was undone.
        copies_restored: whether public copies in S3 were written or withdrawn.
        names_restored: whether public views were made again.
    """

    undone: str | None
    copies_restored: bool
    names_restored: bool = False

    @property
    def needed(self) -> bool:
        """Whether there was anything to recover."""
        return self.undone is not None or self.copies_restored or self.names_restored


def recover_promotion(services: Services, *, actor: Actor, trace: Trace = ignore_step) -> Recovery:
    """Undoes an interrupted promotion, and makes public copies and names the champion's.

    Idempotent. Every run does it first; it is also a DAG and a command.

    Raises:
        LedgerError: the bucket belongs to another ledger.
        ArtifactError, VectorError: the champion itself is damaged: roll back to another release.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        done = recover_locked(conn, services, actor=actor, trace=trace)
        # These follow, because they need rights that an account may lack.
        site_access.ensure_search_path(conn, actor=actor)
        site_access.grant_site(conn)
        _keep_earlier_releases_readable(conn)
        _hide_erased(conn, ledger.retained_releases(conn))
    return done


def recover_locked(
    conn: Connection,
    services: Services,
    *,
    actor: Actor,
    trace: Trace = ignore_step,
    leave_champion: bool = False,
) -> Recovery:
    """Does the work of `recover_promotion` in a session that holds the promotion lock.

    Args:
        conn: the session.
        services: the servers.
        actor: who recovers, and why.
        trace: called with the name of each step.
        leave_champion: go on if the champion is damaged, because the caller replaces it or does not
            need it. Its damage is logged.
    """
    ownership.check_owner(conn, services.store)
    trace("recovery begun")
    public_copies.fence(services.store)
    trace("delayed copies fenced off")
    champion = ledger.champion(conn)
    journals = ledger.open_journals(conn)
    copies = False
    damages: list[Exception] = []
    names = _restore_names(conn, champion, actor, damages)
    if champion is not None:
        _hide_erased(conn, [champion])
    with _collect(damages):
        copies = _restore_copies(conn, services.store, champion, actor, bool(journals))
    trace("public copies restored")
    for damage in damages:
        if not leave_champion:
            raise damage
        log.warning("the champion is damaged: %s", damage)
    if not journals:
        return Recovery(undone=None, copies_restored=copies, names_restored=names)
    [journal] = journals
    with conn.transaction():
        ledger.close_journal(conn, journal.journal_id, "undone")
        action = ledger.UNDONE[journal.kind]
        ledger.note(conn, action, actor=actor, release_id=journal.to_release)
    trace("journal closed as undone")
    log.warning("undid the interrupted %s of release %s", journal.kind, journal.to_release)
    return Recovery(undone=journal.to_release, copies_restored=True, names_restored=names)


def recover_if_possible(
    conn: Connection, services: Services, *, actor: Actor, trace: Trace = ignore_step
) -> Exception | None:
    """Recovers as `recover_locked` does; returns the error if the champion is damaged.

    An open journal then stays open, because public copies may be of the interrupted release.
    """
    try:
        recover_locked(conn, services, actor=actor, trace=trace)
    except (ArtifactError, VectorError) as damage:
        log.warning("the champion is damaged: %s", damage)
        return damage
    return None


@contextmanager
def _collect(damages: list[Exception]) -> Iterator[None]:
    """Collects an error of the champion's artifacts, so that the other repairs are made, too."""
    try:
        yield
    except (ArtifactError, VectorError) as damage:
        damages.append(damage)


def _restore_copies(
    conn: Connection,
    store: ObjectStore,
    champion: Release | None,
    actor: Actor,
    interrupted: bool,
) -> bool:
    """Makes the public copies in S3 the champion's; returns whether that was necessary."""
    if champion is None:
        changed = public_copies.withdraw(store, ledger.journal_targets(conn))
    else:
        changed = not public_copies.public_copies_match(store, champion, read_model=True)
        if changed:
            public_copies.restore(conn, store, champion)
    if changed and not interrupted:
        ledger.note(
            conn,
            Action.PUBLIC_COPIES_REPAIRED,
            actor=actor,
            release_id=champion.release_id if champion else None,
        )
    return changed


def _restore_names(
    conn: Connection, champion: Release | None, actor: Actor, damages: list[Exception]
) -> bool:
    """Makes the public views of the champion again; returns whether that was necessary."""
    if champion is None:
        return False
    changed = False
    with _collect(damages):
        changed = public_names.repair_views(conn, LIVE_SCHEMA, champion.release_id)
        site_access.grant_release(conn, LIVE_SCHEMA, champion.release_id)
    # A rollback away from a champion without tables needs this view, too.
    with _collect(damages):
        if not ledger.current_release_is_right(conn, champion):
            ledger.restore_current_release(conn)
            site_access.grant_site(conn)
            changed = True
    if changed:
        ledger.note(conn, Action.PUBLIC_NAMES_REPAIRED, actor=actor, release_id=champion.release_id)
    return changed


def _hide_erased(conn: Connection, found: list[Release]) -> None:
    """Hides users who are being erased in views and tables that were made again."""
    try:
        hiding.hide_with_retries(conn, hiding.may_know(conn, found))
    except LockedError as error:
        log.warning("erased users are not hidden yet: %s", error)


def _keep_earlier_releases_readable(conn: Connection) -> None:
    """Makes lost views and rights of earlier champions again; a reader may still use their tables.

    Errors are only logged: `recsys doctor` names a damaged release.
    """
    earlier = [
        release.release_id
        for release in ledger.retained_releases(conn)
        if release.state in (State.SUPERSEDED, State.ROLLED_BACK)
    ]
    without = public_names.without_views(conn, earlier)
    tables = site_access.release_tables(earlier) if site_access.site_role_exists(conn) else []
    unreadable = set(site_access.unreadable_relations(conn, tables) if tables else [])
    for name in earlier:
        if name not in without and unreadable.isdisjoint(site_access.release_tables([name])):
            continue
        try:
            public_names.create_views(conn, name)
        except (VectorError, LockedError) as error:
            log.warning("the views of release %s are not made again: %s", name, error)
