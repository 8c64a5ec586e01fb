"""Promotion and rollback: the model in S3 and the vectors in PostgreSQL change together.

The champion's row in the ledger is the commit point. The journal is opened before anything public
changes and closed by the transaction that switches the tables and moves the champion; so an open
journal always means that the commit did not happen, and everything public in S3 can be copied again
from the champion. Nothing relies on cleanup code: after a kill -9 between any two lines, `recovery`
restores a consistent state.
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
from recsys.errors import (
    ArtifactError,
    LedgerError,
    LockedError,
    ServiceUnavailableError,
    StalledError,
    VectorError,
)
from recsys.ledger import Action, Actor, Release, State
from recsys.releases import authority, diff, hiding, public_copies, public_names, verification
from recsys.releases.diff import ReleaseDiff
from recsys.releases.lock import promotion_lock
from recsys.releases.recovery import Trace, ignore_step, recover_if_possible, recover_locked
from recsys.services import Services

log = logging.getLogger(__name__)

_SWITCH_LOCK_TIMEOUT: Final = "50ms"
_MAX_SWITCH_ATTEMPTS: Final = 30


class ChangeKind(StrEnum):
    """Operation that changes the champion."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class ChampionChange:
    """Result of a promotion or a rollback."""

    kind: ChangeKind
    from_release: str | None
    to_release: str
    changed: bool
    """False if the release was the champion already."""


def promote_release(
    services: Services,
    release_id: str,
    *,
    actor: Actor,
    override: bool = False,
    run_id: str | None = None,
    trace: Trace = ignore_step,
) -> ChampionChange:
    """Makes an accepted candidate the champion: its model and its vectors together.

    Args:
        services: the servers.
        release_id: the candidate.
        actor: who promotes it, and why.
        override: promote it although the gate has not accepted it. The actor's name must be that
            of a person, and the override is stored as a separate decision.
        run_id: the run of the pipeline that promotes it. It may promote only what it has accepted
            itself, and only while the champion is the one that it has compared it with. If the
            release is the champion already, this is recorded and nothing changes.
        trace: called with the name of each step.

    Raises:
        LedgerError: the release is unknown, its state does not allow a promotion, the gate has not
            accepted it against the champion that is live now, or the actor of an override is not a
            person.
        ArtifactError, VectorError: an artifact or a table does not match the manifest.
        LockedError: another promotion, rollback or retirement is running.
        ServiceUnavailableError: a server failed; production is unchanged, or `recover` restores it.
    """
    if override:
        authority.check_person(actor.name)
    return _change_champion(
        services, release_id, ChangeKind.PROMOTION, actor, trace, override, run_id
    )


def preview_promotion(
    services: Services, release_id: str, *, override: bool = False
) -> ReleaseDiff | None:
    """Runs every check of a promotion without changing anything.

    Returns:
        The differences that the site would see; None if there is no champion, if its tables are
        lost, or if this release is the champion.

    Raises:
        LedgerError, ArtifactError, VectorError: the promotion would fail with the same error.
    """
    with services.connect() as conn:
        ledger.check_current(conn)
        release, champion = ledger.get(conn, release_id), ledger.champion(conn)
        if not (override and release.state == State.REJECTED):
            authority.check_servable(release)
        authority.check_knows_no_more(conn, release, champion)
        if not override:
            authority.check_accepted(conn, release, champion)
        verification.check_release(conn, services, release)
        if champion is None or champion.release_id == release_id:
            return None
        try:
            return diff.compare_releases(conn, champion.release_id, release_id)
        except VectorError as damage:
            log.warning("there is nothing to compare with: %s", damage)
            return None


def roll_back(
    services: Services,
    release_id: str | None = None,
    *,
    actor: Actor,
    run_id: str | None = None,
    trace: Trace = ignore_step,
) -> ChampionChange:
    """Makes an earlier release the champion again; the previous champion by default.

    The replaced release gets the state ``rolled_back`` and is not promoted again automatically.
    Raises the same errors as `promote_release`.

    Args:
        services: the servers.
        release_id: the release to go back to; the previous champion if not given.
        actor: who goes back, and why.
        run_id: the DAG run that does it. A run goes back once: a task that is tried again after a
            lost answer would go back a second step otherwise.
        trace: called with the name of each step.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        if done := _rollback_of_run(conn, run_id):
            return done
        # Outside of the promotion lock, so that two people who ask at once go back one step.
        target = ledger.rollback_target(conn) if release_id is None else None
    if release_id is None:
        if target is None:
            raise LedgerError(
                "there is no earlier champion",
                hint="`recsys releases` lists the retained releases; `--to` selects one of them",
            )
        release_id = target.release_id
    return _change_champion(services, release_id, ChangeKind.ROLLBACK, actor, trace, run_id=run_id)


def _rollback_of_run(conn: Connection, run_id: str | None) -> ChampionChange | None:
    """Returns what a run has changed already; None if it has not."""
    done = ledger.rollback_of_run(conn, run_id) if run_id else None
    if done is None:
        return None
    from_release, to_release = done
    log.info("%s has gone back from %s to %s already", run_id, from_release, to_release)
    return ChampionChange(ChangeKind.ROLLBACK, from_release, to_release, changed=True)


def _change_champion(
    services: Services,
    release_id: str,
    kind: ChangeKind,
    actor: Actor,
    trace: Trace,
    override: bool = False,
    run_id: str | None = None,
) -> ChampionChange:
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        trace("lock taken")
        # Another try of the task may have committed since.
        if kind is ChangeKind.ROLLBACK and (done := _rollback_of_run(conn, run_id)):
            return done
        before = actor.because(f"before a {kind}")
        damage = recover_if_possible(conn, services, actor=before, trace=trace)
        release, champion = ledger.get(conn, release_id), ledger.champion(conn)
        from_release = champion.release_id if champion else None
        if from_release == release_id:
            if damage is not None:
                raise damage
            if run_id is not None and kind is ChangeKind.PROMOTION:
                ledger.note_once(
                    conn,
                    Action.ALREADY_CHAMPION,
                    actor=actor,
                    release_id=release_id,
                    run_id=run_id,
                )
            return ChampionChange(kind, from_release, release_id, changed=False)
        if override:
            release = authority.override_gate(conn, release, champion, actor)
            trace("gate overridden")
        _check_allowed(conn, release, champion, kind, run_id)
        verification.check_release(conn, services, release)
        trace("release verified")
        public_names.create_views(conn, release_id)
        trace("views created")
        hiding.hide_with_retries(conn, hiding.may_know(conn, [release]))
        if damage is not None:
            # Only now, when the other release is known to be whole.
            recover_locked(conn, services, actor=before, trace=trace, leave_champion=True)
        journal_id = ledger.begin_journal(conn, kind.value, from_release, release_id, actor)
        trace("journal opened")
        try:
            public_copies.publish_model(conn, services.store, release)
            trace("model copied")
            commit_change(conn, journal_id, kind, champion, release, actor)
        except Exception as error:
            if not _settle(services, conn, journal_id, actor, error):
                raise
        else:
            trace("switched")
            _publish_pointer(services, conn)
            trace("pointer written")
    log.info("release %s is the champion (%s)", release_id, kind)
    _warn_of_other_ids(champion, release)
    return ChampionChange(kind, from_release, release_id, changed=True)


def _warn_of_other_ids(before: Release | None, now: Release) -> None:
    """Logs a warning if the public tables have ids of another type now."""
    if before is not None and before.id_bits != now.id_bits:
        log.warning(
            "the ids of the public tables have %d bits now, before %d: readers of the public names "
            "have to prepare their statements again (docs/site-developer.md, Ids of 64 bits)",
            now.id_bits,
            before.id_bits,
        )


def _check_allowed(
    conn: Connection,
    release: Release,
    champion: Release | None,
    kind: ChangeKind,
    run_id: str | None,
) -> None:
    """Raises LedgerError unless the ledger allows this release to become the champion."""
    authority.check_servable(release)
    authority.check_knows_no_more(conn, release, champion)
    if kind is ChangeKind.PROMOTION:
        authority.check_accepted(conn, release, champion, run_id)
    elif release.state == State.CANDIDATE:
        authority.check_accepted(conn, release, champion)


def commit_change(
    conn: Connection,
    journal_id: int,
    kind: ChangeKind,
    champion: Release | None,
    release: Release,
    actor: Actor,
) -> None:
    """Changes the tables, the champion and the journal in one short transaction."""
    replaced = State.ROLLED_BACK if kind is ChangeKind.ROLLBACK else State.SUPERSEDED
    retrying = Retrying(
        retry=retry_if_exception_type(
            (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure)
        ),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        stop=stop_after_attempt(_MAX_SWITCH_ATTEMPTS),
        reraise=True,
    )
    for attempt in retrying:
        with attempt, ledger.acting(conn, actor):
            conn.execute("select set_config('lock_timeout', %s, true)", (_SWITCH_LOCK_TIMEOUT,))
            if not ledger.close_journal(conn, journal_id, "committed"):
                raise LockedError(
                    "another process undid this promotion while it was running",
                    hint="run it again",
                )
            if champion is not None:
                conn.execute(
                    "update recsys.releases set state = %s where release_id = %s",
                    (replaced.value, champion.release_id),
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
    """Handles a failure: returns True if the commit happened nevertheless, else undoes everything.

    If the connection breaks during COMMIT, only the journal shows whether it happened. If this
    function fails too, the journal stays open and recovery finishes the work.
    """
    if isinstance(error, StalledError):
        # The copies can't be restored now, and trying would take as long again.
        log.warning("left journal %s to recovery: %s", journal_id, error)
        return False
    actor = actor.because(f"failed: {type(error).__name__}")
    try:
        if not conn.closed and not conn.broken:
            recover_locked(conn, services, actor=actor)
            return ledger.journal_outcome(conn, journal_id) == "committed"
        conn.close()
        with promotion_lock(services) as fresh:
            recover_locked(fresh, services, actor=actor)
            return ledger.journal_outcome(fresh, journal_id) == "committed"
    except (
        psycopg.Error,
        ServiceUnavailableError,
        LockedError,
        LedgerError,
        ArtifactError,
        VectorError,
    ) as second:
        log.warning("left journal %s to recovery: %s", journal_id, second)
        return False


def _publish_pointer(services: Services, conn: Connection) -> None:
    """Updates ``latest.json``; errors are only logged, because the champion is committed."""
    try:
        champion = ledger.champion(conn)
        if champion is not None:
            public_copies.publish_pointer(conn, services.store, champion)
    except (ServiceUnavailableError, LockedError, psycopg.Error) as error:
        log.warning("left latest.json to recovery: %s", error)
