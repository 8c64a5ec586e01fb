"""Erases users: records who is asked for, hides them at once, and deletes what knows them.

A release is never changed. A run builds one without these users and promotes it by the usual gate;
then every release that knows them is retired, with all that it has. Each step can be repeated, and
`finish_erasures` finds by itself where an interrupted one stopped.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from recsys import ledger
from recsys.contract import LARGEST_ID, PUBLIC_TABLES
from recsys.database import Connection
from recsys.errors import ConfigurationError, LockedError, VectorError
from recsys.features import ErasedUsers
from recsys.ledger import Action, Actor, Release, State
from recsys.releases import hiding, public_names
from recsys.releases.deletion import delete_release
from recsys.releases.erasure_leftovers import delete_erasure_leftovers
from recsys.releases.hiding import erased_users
from recsys.releases.lock import deletion_lock, promotion_lock
from recsys.releases.recovery import Trace, ignore_step, recover_if_possible
from recsys.releases.traces import own_keys, release_keys, search_objects, search_tables
from recsys.services import Services

log = logging.getLogger(__name__)

_GONE = frozenset({State.RETIRING, State.RETIRED})


@dataclass(frozen=True)
class ErasureStatus:
    """How far the pending requests are.

    Attributes:
        pending: number of requests that are not completed.
        completed: number of requests that this call completed.
        knowing: ids of the retained releases that know these users.
        champion_knows: whether the champion is one of them: a new release must be promoted first.
        retired: ids of the releases that this call deleted.
        skipped: why a release was left, by its id.
        traces: names of objects and tables in which a user was found at the end.
    """

    pending: int = 0
    completed: int = 0
    knowing: tuple[str, ...] = ()
    champion_knows: bool = False
    retired: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    traces: tuple[str, ...] = ()


def request_erasure(
    services: Services, user_ids: Iterable[int], *, actor: Actor, trace: Trace = ignore_step
) -> list[int]:
    """Records requests to erase users, and hides them from readers, in one transaction.

    From now on every build leaves them out. A user who is being erased already is not recorded
    again.

    Returns:
        The users whose request is new.

    Raises:
        ConfigurationError: an id is out of range, or the reason names a user.
        LockedError: a promotion is running, or readers use the tables without a pause.
    """
    users = sorted(set(user_ids))
    _check_request(users, actor.reason)
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        recover_if_possible(conn, services, actor=actor.because("before an erasure"), trace=trace)
        known = ErasedUsers(ledger.erasure_key(conn))
        trace("erasure begun")
        new: list[int] = []

        def record() -> None:
            new[:] = ledger.request_erasures(
                conn, {user: known.hash_of(user) for user in users}, actor=actor
            )
            if new:
                hiding.tell_readers(conn)
                ledger.note(conn, Action.ERASURE_REQUESTED, actor=actor, users=len(new))

        retained = [r for r in ledger.retained_releases(conn) if r.state not in _GONE]
        hiding.hide_with_retries(conn, retained, first=record)
        trace("erasure recorded")
    return new


def _check_request(users: list[int], reason: str) -> None:
    if not users:
        raise ConfigurationError("no user to erase", expected="at least one id")
    if users[0] < 1 or users[-1] > LARGEST_ID:
        raise ConfigurationError(
            "not the id of a user",
            found=users[0] if users[0] < 1 else users[-1],
            expected=f"1 to {LARGEST_ID}",
        )
    named = {int(number[:20]) for number in re.findall("[0-9]+", reason)} & set(users)
    if named:
        raise ConfigurationError(
            "the reason names the user, and reasons are kept for ever",
            expected="a reason without the id, such as the number of the request",
        )


def finish_erasures(
    services: Services, *, actor: Actor, trace: Trace = ignore_step
) -> ErasureStatus:
    """Deletes everything that knows users of pending requests, once the champion does not.

    First the releases that may know them are searched, so that those that do not are kept. Nothing
    is deleted while the champion knows them. A request is completed when a search of everything
    finds no trace. Without pending requests, only what late runs left is deleted.

    Raises:
        LockedError: a promotion is running, or a retirement is deleting.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        pending = [erasure for erasure in ledger.erasures(conn) if erasure.is_pending]
        if pending:
            erased, newest = erased_users(conn), pending[-1].number
            _search_releases(conn, services, erased, newest, trace)
    if not pending:
        delete_erasure_leftovers(services, actor=actor, trace=trace)
        return ErasureStatus()
    with promotion_lock(services) as conn:
        recover_if_possible(conn, services, actor=actor.because("before an erasure"), trace=trace)
        knowing = [r for r in hiding.may_know(conn, _retained(conn)) if r.state != State.RETIRING]
        champion = ledger.champion(conn)
        waits = champion is not None and champion.erasures_covered < newest
        if not waits:
            _mark(conn, knowing, actor, trace)
    ids = tuple(release.release_id for release in knowing)
    if waits:
        return ErasureStatus(len(pending), 0, ids, champion_knows=True)
    retired, skipped = _delete(services, newest, actor, trace)
    trace("releases deleted")
    with services.connect() as conn:
        found = [
            searched.name
            for searched in (
                *search_objects(services.store, own_keys(services.store), erased),
                *search_tables(conn, erased),
            )
            if searched.found
        ]
        trace("everything searched")
        done = not found and not skipped
        if done:
            with conn.transaction():
                ledger.complete_erasures(conn, (erasure.number for erasure in pending))
                ledger.note(
                    conn,
                    Action.ERASURE_COMPLETED,
                    actor=actor,
                    users=len(pending),
                    requests=[erasure.number for erasure in pending],
                )
            trace("erasure completed")
            ledger.forget_erased_ids(conn)
    return ErasureStatus(
        pending=0 if done else len(pending),
        completed=len(pending) if done else 0,
        knowing=ids,
        retired=tuple(retired),
        skipped=tuple(skipped.items()),
        traces=tuple(found),
    )


def _retained(conn: Connection) -> list[Release]:
    return [r for r in ledger.retained_releases(conn) if r.state != State.RETIRED]


def _search_releases(
    conn: Connection, services: Services, erased: ErasedUsers, newest: int, trace: Trace
) -> None:
    """Records which complete releases have no trace of the users, so that they are kept."""
    for release in hiding.may_know(conn, _retained(conn)):
        if release.completed_at is None or release.state in _GONE:
            continue
        keys = release_keys(services.store, release.release_id, release.features_prefix)
        tables = frozenset(
            public_names.release_table(table.name, release.release_id) for table in PUBLIC_TABLES
        )
        searched = [
            *search_objects(services.store, keys, erased),
            *search_tables(conn, erased, tables),
        ]
        if not any(each.found or each.problem for each in searched):
            ledger.cover_erasures(conn, release.release_id, newest)
        trace("release searched")


def _mark(conn: Connection, knowing: list[Release], actor: Actor, trace: Trace) -> None:
    """Marks releases that know the users as retiring, so that no promotion finds them."""
    for release in knowing:
        with conn.transaction():
            if release.state in (State.BUILDING, State.CANDIDATE):
                ledger.move(conn, release.release_id, State.ABANDONED, actor=actor)
            ledger.move(conn, release.release_id, State.RETIRING, actor=actor)
        trace("marked as retiring")


def _delete(
    services: Services, newest: int, actor: Actor, trace: Trace
) -> tuple[list[str], dict[str, str]]:
    """Deletes the marked releases, raw datasets, and what nothing needs."""
    retired: list[str] = []
    skipped: dict[str, str] = {}
    with deletion_lock(services) as conn:
        for release in ledger.releases_in(conn, State.RETIRING):
            try:
                delete_release(conn, services, release, actor, trace)
            except (LockedError, VectorError) as error:
                skipped[release.release_id] = str(error)
                log.warning("release %s is not deleted: %s", release.release_id, error)
            else:
                retired.append(release.release_id)
    delete_erasure_leftovers(services, actor=actor, trace=trace)
    return retired, skipped
