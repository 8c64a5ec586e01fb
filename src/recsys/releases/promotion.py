"""Promotion and rollback: a model in S3 and vectors in PostgreSQL change as one pair.

The champion's row in the ledger is the commit point. The journal is opened before anything public
changes and closed by the transaction that switches the tables and moves the champion; so an open
journal always means that the commit did not happen, and everything public in S3 can be made again
from the champion. Nothing here relies on being able to clean up: a kill -9 between any two lines
leaves a state that `recovery` mends.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from recsys import ledger
from recsys.database import Connection
from recsys.errors import LedgerError, LockedError, ServiceUnavailableError
from recsys.ledger import Actor, Release, State
from recsys.releases import authority, diff, public_copies, public_names, verification
from recsys.releases.diff import ReleaseDiff
from recsys.releases.lock import check_lock, promotion_lock
from recsys.releases.recovery import Trace, ignore_step, recover_locked
from recsys.services import Services

log = logging.getLogger(__name__)

_SWITCH_LOCK_TIMEOUT: Final = "50ms"
_SWITCH_TRIES: Final = 30


class ChangeKind(StrEnum):
    """Why the champion changes."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class ChampionChange:
    """What a promotion or a rollback did."""

    kind: ChangeKind
    from_release: str | None
    to_release: str
    changed: bool
    """False: the release was the champion already."""


def promote_release(
    services: Services,
    release_id: str,
    *,
    actor: Actor,
    override: bool = False,
    trace: Trace = ignore_step,
) -> ChampionChange:
    """Makes an accepted candidate the champion: model and vectors as one pair.

    Args:
        services: where.
        release_id: the candidate.
        actor: who promotes it, and why.
        override: promote it although the gate has not accepted it. Only a person may: the actor's
            name must be a person's, and the override is stored as a decision of its own.
        trace: told of every step.

    Raises:
        LedgerError: the release is unknown, its state does not allow it, the gate has not
            accepted it, or nobody's name stands for an override.
        ArtifactError, VectorError: an artifact or a table is not what its manifest says.
        LockedError: another promotion, rollback or retirement is at work.
        ServiceUnavailableError: a server failed; production is as it was, or `recover` makes it so.
    """
    if override:
        authority.check_person(actor.name)
    return _change_champion(services, release_id, ChangeKind.PROMOTION, actor, trace, override)


def preview_promotion(
    services: Services, release_id: str, *, override: bool = False
) -> ReleaseDiff | None:
    """Makes every check of a promotion and changes nothing.

    Returns:
        What the site would notice; None when nothing is served yet, or this release is.

    Raises:
        LedgerError, ArtifactError, VectorError: the promotion would be refused for this.
    """
    with services.connect() as conn:
        ledger.check_current(conn)
        release, champion = ledger.get(conn, release_id), ledger.champion(conn)
        if not (override and release.state == State.REJECTED):
            authority.check_servable(release)
        if not override:
            authority.check_accepted(conn, release)
        verification.check_release(conn, services.store, release)
        if champion is None or champion.release_id == release_id:
            return None
        return diff.compare_releases(conn, champion.release_id, release_id)


def roll_back(
    services: Services,
    release_id: str | None = None,
    *,
    actor: Actor,
    trace: Trace = ignore_step,
) -> ChampionChange:
    """Makes an earlier release the champion again; by default the one before it.

    The release left behind becomes ``rolled_back`` and is not promoted again by itself.
    Raises what `promote_release` raises.
    """
    if release_id is None:
        with services.connect() as conn:
            target = ledger.rollback_target(conn)
        if target is None:
            raise LedgerError(
                "there is no earlier champion to go back to",
                hint="`recsys releases` lists what is retained; `--to` takes one by name",
            )
        release_id = target.release_id
    return _change_champion(services, release_id, ChangeKind.ROLLBACK, actor, trace)


def _change_champion(
    services: Services,
    release_id: str,
    kind: ChangeKind,
    actor: Actor,
    trace: Trace,
    override: bool = False,
) -> ChampionChange:
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        trace("lock taken")
        recover_locked(conn, services, actor=actor.because(f"before a {kind}"), trace=trace)
        release, champion = ledger.get(conn, release_id), ledger.champion(conn)
        from_release = champion.release_id if champion else None
        if from_release == release_id:
            return ChampionChange(kind, from_release, release_id, changed=False)
        if override:
            release = authority.override_gate(conn, release, champion, actor)
            trace("gate overridden")
        authority.check_servable(release)
        if kind is ChangeKind.PROMOTION or release.state == State.CANDIDATE:
            authority.check_accepted(conn, release)
        verification.check_release(conn, services.store, release)
        trace("release verified")
        public_names.create_views(conn, release_id)
        trace("views created")
        journal_id = ledger.begin_journal(conn, kind.value, from_release, release_id, actor)
        trace("journal opened")
        try:
            check_lock(conn)
            public_copies.publish_model(services.store, release)
            trace("model copied")
            _commit(conn, journal_id, kind, champion, release, actor)
        except Exception as error:
            if not _settle(services, conn, journal_id, actor, error):
                raise
        else:
            trace("switched")
            _publish_pointer(services, conn)
            trace("pointer written")
    log.info("release %s is the champion (%s)", release_id, kind)
    return ChampionChange(kind, from_release, release_id, changed=True)


def _commit(
    conn: Connection,
    journal_id: int,
    kind: ChangeKind,
    champion: Release | None,
    release: Release,
    actor: Actor,
) -> None:
    """The one short transaction: tables, champion and journal change together or not at all."""
    left = State.ROLLED_BACK if kind is ChangeKind.ROLLBACK else State.SUPERSEDED
    retrying = Retrying(
        retry=retry_if_exception_type(
            (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure)
        ),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        stop=stop_after_attempt(_SWITCH_TRIES),
        reraise=True,
    )
    for attempt in retrying:
        with attempt, ledger.acting(conn, actor):
            conn.execute("select set_config('lock_timeout', %s, true)", (_SWITCH_LOCK_TIMEOUT,))
            if not ledger.close_journal(conn, journal_id, "committed"):
                raise LockedError(
                    "this promotion was undone by someone else while it was at work",
                    hint="run it again",
                )
            if champion is not None:
                conn.execute(
                    "update recsys.releases set state = %s where release_id = %s",
                    (left.value, champion.release_id),
                )
            conn.execute(
                "update recsys.releases set state = %s, promoted_at = clock_timestamp() "
                "where release_id = %s",
                (State.CHAMPION.value, release.release_id),
            )
            public_names.switch_tables(
                conn, champion.release_id if champion else None, release.release_id
            )


def _settle(
    services: Services, conn: Connection, journal_id: int, actor: Actor, error: Exception
) -> bool:
    """After a failure: True if the commit happened all the same, else everything is undone.

    A connection that breaks during COMMIT leaves the outcome unknown; only the journal knows it.
    If settling fails too, the journal stays open and recovery finishes the work.
    """
    actor = actor.because(f"failed: {type(error).__name__}")
    try:
        if not conn.closed and not conn.broken:
            recover_locked(conn, services, actor=actor)
            return ledger.journal_outcome(conn, journal_id) == "committed"
        conn.close()
        with promotion_lock(services) as fresh:
            recover_locked(fresh, services, actor=actor)
            return ledger.journal_outcome(fresh, journal_id) == "committed"
    except (psycopg.Error, ServiceUnavailableError, LockedError) as second:
        log.warning("left journal %s to recovery: %s", journal_id, second)
        return False


def _publish_pointer(services: Services, conn: Connection) -> None:
    """Brings ``latest.json`` up to date; the champion is committed, so failing is no failure."""
    try:
        champion = ledger.champion(conn)
        if champion is not None:
            public_copies.publish_pointer(services.store, champion)
    except (ServiceUnavailableError, psycopg.Error) as error:
        log.warning("left latest.json to recovery: %s", error)
