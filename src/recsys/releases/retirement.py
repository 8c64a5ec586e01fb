"""Retirement: drops what old releases hold, and never what is live, kept, or named by a journal."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import Field

from recsys import contract, ledger, vectors
from recsys.contract import FrozenModel
from recsys.database import Connection
from recsys.ledger import Actor, Release, State
from recsys.releases import public_names
from recsys.releases.lock import check_lock, promotion_lock
from recsys.releases.recovery import Trace, recover_locked
from recsys.services import Services

log = logging.getLogger(__name__)


class RetentionSettings(FrozenModel):
    """What retirement keeps besides the champion and the previous champion."""

    keep_releases: int = Field(default=5, ge=0, description="newest complete releases kept")
    abandon_after_hours: float = Field(
        default=24, gt=0, description="a release still building after this was abandoned"
    )
    forget_after_hours: float = Field(
        default=7 * 24,
        gt=0,
        description="a candidate that nobody promoted or rejected by then was abandoned; longer "
        "than a person may take to approve",
    )


def releases_to_keep(
    releases: Iterable[Release], settings: RetentionSettings, named: frozenset[str] = frozenset()
) -> set[str]:
    """Ids of the releases that stay, and why nothing else has to.

    The champion, the previous champion and where a rollback would go (the same, unless the
    previous one was rolled back itself), the newest ``keep_releases`` complete ones, all that are
    not in a terminal state, and all in ``named`` (by an open journal).
    """
    releases = list(releases)
    stay = {r.release_id for r in releases if r.state not in ledger.TERMINAL} | named
    stay -= {r.release_id for r in releases if r.state in (State.RETIRING, State.RETIRED)}
    for left in ({State.SUPERSEDED, State.ROLLED_BACK}, {State.SUPERSEDED}):
        served = [r for r in releases if r.promoted_at and r.state in left]
        if served:
            stay.add(max(served, key=lambda r: r.promoted_at or r.created_at).release_id)
    complete = [
        r for r in releases if r.completed_at and r.state not in (State.RETIRING, State.RETIRED)
    ]
    complete.sort(key=lambda r: r.completed_at or r.created_at, reverse=True)
    stay.update(r.release_id for r in complete[: settings.keep_releases])
    return stay


def retire_old_releases(
    services: Services,
    settings: RetentionSettings,
    *,
    actor: Actor,
    trace: Trace = lambda step: None,
) -> list[str]:
    """Retires all releases that `releases_to_keep` does not name; returns their ids.

    Killed at any point, the next call goes on where this one stopped.

    Raises:
        LockedError: a promotion, rollback or retirement is at work.
    """
    retired = []
    with promotion_lock(services) as conn:
        recover_locked(conn, services, actor=actor.because("before retirement"), trace=trace)
        _abandon(conn, settings, actor)
        releases = ledger.all_releases(conn)
        stay = releases_to_keep(releases, settings, _named(conn))
        for release in reversed(releases):
            if release.release_id in stay or release.state == State.RETIRED:
                continue
            if release.state != State.RETIRING:
                ledger.move(conn, release.release_id, State.RETIRING, actor=actor)
            trace("marked as retiring")
            public_names.drop_views(conn, release.release_id)
            trace("views dropped")
            vectors.drop_vectors(conn, release.release_id)
            trace("tables dropped")
            _drop_objects(conn, services, release.release_id)
            trace("objects dropped")
            ledger.move(conn, release.release_id, State.RETIRED, actor=actor)
            trace("marked as retired")
            retired.append(release.release_id)
            log.info("retired release %s", release.release_id)
        _drop_datasets(conn, services, trace)
    return retired


def _abandon(conn: Connection, settings: RetentionSettings, actor: Actor) -> None:
    """Gives up releases whose run ended long ago without completing or judging them."""
    hours = {
        State.BUILDING: settings.abandon_after_hours,
        State.CANDIDATE: settings.forget_after_hours,
    }
    now = datetime.now(UTC)
    for release in ledger.all_releases(conn):
        limit = hours.get(release.state)
        if limit is not None and now - release.changed_at > timedelta(hours=limit):
            ledger.move(
                conn,
                release.release_id,
                State.ABANDONED,
                actor=actor.because(f"still {release.state} after {limit:g} hours"),
            )


def _named(conn: Connection) -> frozenset[str]:
    return frozenset(
        release_id
        for journal in ledger.open_journals(conn)
        for release_id in (journal.from_release, journal.to_release)
        if release_id
    )


def _drop_objects(conn: Connection, services: Services, release_id: str) -> None:
    """Deletes a release's objects, its manifest first: without it the release does not exist."""
    _delete(conn, services, [contract.release_key(release_id, contract.MANIFEST_FILE)])
    _delete(conn, services, services.store.keys(contract.release_prefix(release_id)))


def _drop_datasets(conn: Connection, services: Services, trace: Trace) -> None:
    """Deletes raw files and features of datasets that only retired releases were made of."""
    releases = ledger.all_releases(conn)
    needed = {r.dataset_md5 for r in releases if r.state != State.RETIRED}
    for md5 in {r.dataset_md5 for r in releases} - needed:
        keys = [
            *services.store.keys(contract.features_key(md5, contract.STATS_FILE)),
            *services.store.keys(contract.features_prefix(md5)),
            *services.store.keys(contract.dataset_prefix(md5)),
        ]
        _delete(conn, services, keys)
        trace("dataset dropped")


def _delete(conn: Connection, services: Services, keys: list[str]) -> None:
    for key in keys:
        check_lock(conn)
        services.store.delete([key])
