"""Retirement: deletes tables and objects of old releases, except those that must be kept."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from recsys import ledger
from recsys.database import Connection
from recsys.errors import LedgerError, LockedError, VectorError
from recsys.ledger import Actor, Release, State
from recsys.releases import inbox, public_names
from recsys.releases.deletion import delete_release
from recsys.releases.erasure_leftovers import delete_erasure_leftovers
from recsys.releases.lock import deletion_lock, promotion_lock
from recsys.releases.recovery import Trace, ignore_step, recover_if_possible
from recsys.releases.retention import RetentionSettings
from recsys.services import Services

log = logging.getLogger(__name__)

_GONE: Final = frozenset({State.RETIRING, State.RETIRED})
BATCH: Final = 25
"""Releases that are marked while the promotion lock is held once, for less than a second."""


@dataclass(frozen=True)
class Retirement:
    """Result of a retirement.

    Attributes:
        retired: ids of the releases whose tables and objects were deleted.
        skipped: why a release was left for the next retirement, by its id.
    """

    retired: tuple[str, ...]
    skipped: dict[str, str]


def releases_to_keep(
    releases: Iterable[Release], settings: RetentionSettings, named: frozenset[str] = frozenset()
) -> set[str]:
    """Returns the ids of the releases that must not be retired.

    These are the champion, the previous champion, the target of a rollback (another one if the
    previous champion was rolled back itself), the newest ``keep_releases`` releases that a rollback
    could lead to, as many complete releases that a person could still promote by an override, all
    releases that are not in a terminal state, and all in ``named`` (by an open journal).
    """
    releases = list(releases)
    keep = {r.release_id for r in releases if r.state not in ledger.TERMINAL} | named
    keep -= {r.release_id for r in releases if r.state in _GONE}
    for states in ({State.SUPERSEDED, State.ROLLED_BACK}, {State.SUPERSEDED}):
        served = [r for r in releases if r.promoted_at and r.state in states]
        if served:
            keep.add(max(served, key=lambda r: r.promoted_at or r.created_at).release_id)
    complete = [r for r in releases if r.completed_at and r.state not in _GONE]
    complete.sort(key=lambda r: r.completed_at or r.created_at, reverse=True)
    # Counted apart, so that no number of rejections removes a release to go back to.
    for servable in (True, False):
        group = [r for r in complete if (r.state in ledger.SERVABLE) == servable]
        keep.update(r.release_id for r in group[: settings.keep_releases])
    return keep


def retire_old_releases(
    services: Services,
    settings: RetentionSettings,
    *,
    actor: Actor,
    trace: Trace = ignore_step,
) -> Retirement:
    """Retires all releases except `releases_to_keep`.

    Only the decision needs the promotion lock: a release that is marked as retiring can be neither
    promoted nor built. What it has in PostgreSQL and S3 is deleted afterwards, however long it
    takes, and promotions and rollbacks go on meanwhile. If the process is killed at any point, the
    next call continues from there. A release that is still used is skipped, and the next call tries
    again.

    Raises:
        LockedError: a promotion or rollback is running.
    """
    retired: list[str] = []
    skipped: dict[str, str] = {}
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        recover_if_possible(conn, services, actor=actor.because("before retirement"), trace=trace)
        _abandon(conn, settings, actor)
        is_complete = _mark(conn, settings, actor, trace, skipped)
    while _delete_marked(services, actor, trace, retired, skipped) and not is_complete:
        with promotion_lock(services) as conn:
            is_complete = _mark(conn, settings, actor, trace, skipped)
    _clear_inboxes(services)
    try:
        delete_erasure_leftovers(services, actor=actor, trace=trace)
    except (LockedError, LedgerError) as error:
        log.warning("what late runs left is not deleted yet: %s", error)
    return Retirement(tuple(retired), skipped)


def _mark(
    conn: Connection,
    settings: RetentionSettings,
    actor: Actor,
    trace: Trace,
    skipped: dict[str, str],
) -> bool:
    """Marks the oldest releases that need not be kept as retiring.

    Returns:
        False if there are more of them than may be marked while the promotion lock is held.
    """
    releases = ledger.retained_releases(conn)
    keep = releases_to_keep(releases, settings, _journal_releases(conn))
    users = public_names.dependents(
        conn, [release.release_id for release in releases if release.release_id not in keep]
    )
    marked = 0
    for release in reversed(releases):
        if release.state in _GONE or release.release_id in keep | skipped.keys():
            continue
        if marked == BATCH:
            return False
        if release.release_id in users:
            error = VectorError(
                f"views or functions of others use release {release.release_id}",
                found=", ".join(users[release.release_id]),
                expected="none",
                hint="drop them, or let them read the release that recsys.current_release names",
            )
            _skip(release, error, skipped)
            continue
        ledger.move(conn, release.release_id, State.RETIRING, actor=actor)
        marked += 1
        trace("marked as retiring")
    return True


def _delete_marked(
    services: Services, actor: Actor, trace: Trace, retired: list[str], skipped: dict[str, str]
) -> bool:
    """Deletes what retiring releases have, also those of an earlier call that was killed.

    Returns:
        False if another process deletes. It, or the next retirement, deletes these, too.
    """
    with services.connect() as conn:
        waiting = ledger.releases_in(conn, State.RETIRING)
    if all(release.release_id in skipped for release in waiting):
        return True
    try:
        with deletion_lock(services) as conn:
            # Read under the lock: the process that held it before may have retired some.
            for release in ledger.releases_in(conn, State.RETIRING):
                if release.release_id in skipped:
                    continue
                try:
                    delete_release(conn, services, release, actor, trace)
                except (LockedError, VectorError) as error:
                    _skip(release, error, skipped)
                else:
                    retired.append(release.release_id)
                    log.info("retired release %s", release.release_id)
    except LockedError as error:
        for release in waiting:
            _skip(release, error, skipped)
        return False
    return True


def _skip(release: Release, error: Exception, skipped: dict[str, str]) -> None:
    skipped[release.release_id] = str(error)
    log.warning("release %s is not retired: %s", release.release_id, error)


def _abandon(conn: Connection, settings: RetentionSettings, actor: Actor) -> None:
    """Abandons builds and candidates whose runs have shown no sign of life for too long."""
    hours = {
        State.BUILDING: settings.abandon_after_hours,
        State.CANDIDATE: settings.forget_after_hours,
    }
    now = datetime.now(UTC)
    for release in ledger.retained_releases(conn):
        limit = hours.get(release.state)
        if limit is not None and now - release.changed_at > timedelta(hours=limit):
            ledger.move(
                conn,
                release.release_id,
                State.ABANDONED,
                actor=actor.because(
                    f"{release.state}, and no run has worked on it for {limit:g} hours"
                ),
            )


def _journal_releases(conn: Connection) -> frozenset[str]:
    return frozenset(
        release_id
        for journal in ledger.open_journals(conn)
        for release_id in (journal.from_release, journal.to_release)
        if release_id
    )


def _clear_inboxes(services: Services) -> None:
    """Deletes what trainers left that went on after their run had been given up."""
    with services.connect() as conn:
        left = inbox.inbox_leftovers(conn, services.store)
    for release_id, keys in left.items():
        services.store.delete(keys)
        log.info("deleted %d files in the inbox of release %s", len(keys), release_id)
