"""Promotion, rollback and recovery: a model in S3 and vectors in PostgreSQL change as one pair.

The champion's row in the ledger is the commit point. The journal is opened before anything public
changes and closed by the transaction that switches the tables and moves the champion; so an open
journal always means that the commit did not happen, and everything public in S3 can be made again
from the champion. Nothing here relies on being able to clean up: a kill -9 between any two lines
leaves a state that `recover` mends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from recsys import (
    authority,
    ledger,
    ledger_records,
    migrations,
    public_copies,
    release_diff,
    switch,
    verification,
)
from recsys.errors import LedgerError, LockedError, ServiceUnavailableError
from recsys.ledger import Connection, Release, State
from recsys.release_diff import ReleaseDiff
from recsys.services import Services

log = logging.getLogger(__name__)

_LOCK: Final = 0x5EC5_0002
LOCK_WAIT_S: Final = 10.0
# A promoter that hangs, between statements or in a transaction, or whose machine is gone, loses
# its session, and with it the lock and the right to commit.
_SESSION: Final = {
    "idle_session_timeout": "10min",
    "idle_in_transaction_session_timeout": "1min",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_SWITCH_LOCK_TIMEOUT: Final = "50ms"
_SWITCH_TRIES: Final = 30

Trace = Callable[[str], None]
"""Called with the name of each step as it is reached; the crash tests kill the process there."""


class Kind(StrEnum):
    """Why the champion changes."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Change:
    """What a promotion or a rollback did."""

    kind: Kind
    from_release: str | None
    to_release: str
    changed: bool
    """False: the release was the champion already."""


@dataclass(frozen=True)
class Recovery:
    """What recovery found and did."""

    undone: str | None
    """The release whose interrupted promotion was undone."""
    copies_mended: bool

    @property
    def needed(self) -> bool:
        """Whether anything was out of order."""
        return self.undone is not None or self.copies_mended


def _no_trace(step: str) -> None:
    """Does nothing; see `Trace`."""


def promote_release(
    services: Services,
    release_id: str,
    *,
    actor: str,
    reason: str,
    override: bool = False,
    trace: Trace = _no_trace,
) -> Change:
    """Makes an accepted candidate the champion: model and vectors as one pair.

    Args:
        services: where.
        release_id: the candidate.
        actor: who does it.
        reason: why.
        override: promote it although the gate has not accepted it. Only a person may: ``actor`` is
            then a name, and the override is kept as a decision of its own.
        trace: told of every step.

    Raises:
        LedgerError: the release is unknown, its state does not allow it, the gate has not
            accepted it, or nobody's name stands for an override.
        ArtifactError, VectorError: an artifact or a table is not what its manifest says.
        LockedError: another promotion, rollback or retirement is at work.
        ServiceUnavailableError: a server failed; production is as it was, or `recover` makes it so.
    """
    if override:
        authority.check_person(actor)
    return _change_champion(services, release_id, Kind.PROMOTION, actor, reason, trace, override)


def rehearse(services: Services, release_id: str, *, override: bool = False) -> ReleaseDiff | None:
    """Makes every check of a promotion and changes nothing.

    Returns:
        What the site would notice; None when nothing is served yet, or this release is.

    Raises:
        LedgerError, ArtifactError, VectorError: the promotion would be refused for this.
    """
    with services.connect() as conn:
        migrations.check_current(conn)
        release, champion = ledger.get(conn, release_id), ledger.champion(conn)
        if not (override and release.state == State.REJECTED):
            authority.check_servable(release)
        if not override:
            authority.check_accepted(conn, release)
        verification.check_release(conn, services.store, release)
        if champion is None or champion.release_id == release_id:
            return None
        return release_diff.compare(conn, champion.release_id, release_id)


def roll_back(
    services: Services,
    release_id: str | None = None,
    *,
    actor: str,
    reason: str,
    trace: Trace = _no_trace,
) -> Change:
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
    return _change_champion(services, release_id, Kind.ROLLBACK, actor, reason, trace)


def recover_promotion(
    services: Services, *, actor: str, reason: str = "recovery", trace: Trace = _no_trace
) -> Recovery:
    """Undoes an interrupted promotion and makes the public copies equal the champion.

    Idempotent; the first thing that every run does, a DAG of its own, and a command.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        switch.let_names_be_found(conn)
    with promotion_lock(services) as conn:
        return recover_locked(conn, services, actor=actor, reason=reason, trace=trace)


@contextmanager
def promotion_lock(services: Services, wait_s: float = LOCK_WAIT_S) -> Iterator[Connection]:
    """The session that holds the promotion lock: one promoter in the world.

    The lock belongs to the session that also commits the switch, so whoever loses the lock has
    lost the right to commit as well.

    Raises:
        LockedError: somebody else still holds the lock after ``wait_s`` seconds.
    """
    with services.connect() as conn:
        for setting in _SESSION.items():
            conn.execute("select set_config(%s, %s, false)", setting)
        deadline = time.monotonic() + wait_s
        while conn.execute("select pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
            if time.monotonic() >= deadline:
                raise LockedError(
                    "another promotion, rollback or retirement is at work",
                    found=_lock_holder(conn),
                    hint="wait for it, or look at it with `recsys status`",
                )
            time.sleep(0.1)
        # Closing the session gives the lock back, whatever has happened inside.
        yield conn


def check_lock(conn: Connection) -> None:
    """Raises psycopg.OperationalError if the session, and so the promotion lock, is lost.

    Asked before S3 is changed, which knows of no lock: a promoter that was given up long ago must
    not touch what others have made since.
    """
    conn.execute("select")


def recover_locked(
    conn: Connection, services: Services, *, actor: str, reason: str, trace: Trace = _no_trace
) -> Recovery:
    """`recover_promotion` for a session that holds the promotion lock already."""
    trace("recovery begun")
    champion = ledger.champion(conn)
    row = conn.execute(
        "select id, kind, to_release from recsys.journal where closed_at is null"
    ).fetchone()
    if row is None and public_copies.in_order(services.store, champion):
        return Recovery(undone=None, copies_mended=False)
    public_copies.restore(services.store, champion)
    trace("public copies restored")
    if row is None:
        ledger_records.note(
            conn,
            "public copies mended",
            actor=actor,
            reason=reason,
            release_id=champion.release_id if champion else None,
        )
        return Recovery(undone=None, copies_mended=True)
    journal_id, kind, to_release = row
    with conn.transaction():
        conn.execute(
            "update recsys.journal set closed_at = clock_timestamp(), outcome = 'undone' "
            "where id = %s",
            (journal_id,),
        )
        ledger_records.note(
            conn, f"{kind} undone", actor=actor, reason=reason, release_id=to_release
        )
    trace("journal closed as undone")
    log.warning("undid the interrupted %s of release %s", kind, to_release)
    return Recovery(undone=to_release, copies_mended=True)


def _change_champion(
    services: Services,
    release_id: str,
    kind: Kind,
    actor: str,
    reason: str,
    trace: Trace,
    override: bool = False,
) -> Change:
    ledger.check_words(actor, reason)
    with services.connect() as conn:
        ledger.prepare(conn)
    with promotion_lock(services) as conn:
        trace("lock taken")
        recover_locked(conn, services, actor=actor, reason=f"before a {kind}", trace=trace)
        release, champion = ledger.get(conn, release_id), ledger.champion(conn)
        from_release = champion.release_id if champion else None
        if from_release == release_id:
            return Change(kind, from_release, release_id, changed=False)
        if override:
            release = authority.override_gate(conn, release, champion, actor, reason)
            trace("gate overridden")
        authority.check_servable(release)
        if kind is Kind.PROMOTION or release.state == State.CANDIDATE:
            authority.check_accepted(conn, release)
        verification.check_release(conn, services.store, release)
        trace("release verified")
        switch.create_views(conn, release_id)
        trace("views created")
        journal_id = _open_journal(conn, kind, from_release, release_id, actor, reason)
        trace("journal opened")
        try:
            check_lock(conn)
            public_copies.publish_model(services.store, release)
            trace("model copied")
            _commit(conn, journal_id, kind, champion, release, actor, reason)
        except Exception as error:
            if not _settle(services, conn, journal_id, actor, error):
                raise
        else:
            trace("switched")
            _publish_pointer(services, conn)
            trace("pointer written")
    log.info("release %s is the champion (%s)", release_id, kind)
    return Change(kind, from_release, release_id, changed=True)


def _open_journal(
    conn: Connection, kind: Kind, from_release: str | None, to: str, actor: str, reason: str
) -> int:
    [(journal_id,)] = conn.execute(
        "insert into recsys.journal (kind, from_release, to_release, actor, reason) "
        "values (%s, %s, %s, %s, %s) returning id",
        (kind.value, from_release, to, actor, reason),
    ).fetchall()
    return int(journal_id)


def _commit(
    conn: Connection,
    journal_id: int,
    kind: Kind,
    champion: Release | None,
    release: Release,
    actor: str,
    reason: str,
) -> None:
    """The one short transaction: tables, champion and journal change together or not at all."""
    left = State.ROLLED_BACK if kind is Kind.ROLLBACK else State.SUPERSEDED
    retrying = Retrying(
        retry=retry_if_exception_type(
            (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure)
        ),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        stop=stop_after_attempt(_SWITCH_TRIES),
        reraise=True,
    )
    for attempt in retrying:
        with attempt, ledger.acting(conn, actor, reason):
            conn.execute("select set_config('lock_timeout', %s, true)", (_SWITCH_LOCK_TIMEOUT,))
            closed = conn.execute(
                "update recsys.journal set closed_at = clock_timestamp(), outcome = 'committed' "
                "where id = %s and closed_at is null",
                (journal_id,),
            )
            if closed.rowcount != 1:
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
            switch.switch_tables(
                conn, champion.release_id if champion else None, release.release_id
            )


def _settle(
    services: Services, conn: Connection, journal_id: int, actor: str, error: Exception
) -> bool:
    """After a failure: True if the commit happened all the same, else everything is undone.

    A connection that breaks during COMMIT leaves the outcome unknown; only the journal knows it.
    If settling fails too, the journal stays open and recovery finishes the work.
    """
    reason = f"failed: {type(error).__name__}"
    try:
        if not conn.closed and not conn.broken:
            recover_locked(conn, services, actor=actor, reason=reason)
            return _outcome(conn, journal_id) == "committed"
        conn.close()
        with promotion_lock(services) as fresh:
            recover_locked(fresh, services, actor=actor, reason=reason)
            return _outcome(fresh, journal_id) == "committed"
    except (psycopg.Error, ServiceUnavailableError, LockedError) as second:
        log.warning("left journal %s to recovery: %s", journal_id, second)
        return False


def _outcome(conn: Connection, journal_id: int) -> str | None:
    row = conn.execute("select outcome from recsys.journal where id = %s", (journal_id,)).fetchone()
    return None if row is None else row[0]


def _publish_pointer(services: Services, conn: Connection) -> None:
    """Brings ``latest.json`` up to date; the champion is committed, so failing is no failure."""
    try:
        champion = ledger.champion(conn)
        if champion is not None:
            public_copies.publish_pointer(services.store, champion)
    except (ServiceUnavailableError, psycopg.Error) as error:
        log.warning("left latest.json to recovery: %s", error)


def _lock_holder(conn: Connection) -> str:
    row = conn.execute(
        "select a.pid, a.application_name, a.backend_start from pg_locks l "
        "join pg_stat_activity a using (pid) "
        "where l.locktype = 'advisory' and l.granted and l.objid = %s "
        "and l.database = (select oid from pg_database where datname = current_database())",
        (_LOCK,),
    ).fetchone()
    return (
        "nobody any more" if row is None else f"session {row[0]} ({row[1]}) since {row[2]:%H:%M:%S}"
    )
