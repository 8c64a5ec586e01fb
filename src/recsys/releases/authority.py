"""Checks whether a release may be promoted: by the gate's decision, or by a person's override."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from recsys import ledger
from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.gate import override_decision
from recsys.ledger import Action, Actor, Release, StandingDecision, State

BY_HAND: Final = "by hand"
"""Stored in place of the run id in the decision of an override."""

_JUDGE_AGAIN: Final = (
    "judge it again: trigger the weekly DAG with the Param force, or `recsys run --force`; "
    "or override the gate in your own name: `recsys promote RELEASE --override`"
)

# Accounts and roles that do not identify a person.
_IMPERSONAL: Final = frozenset(
    "admin administrator airflow anonymous bot ci default me nobody none null operator postgres "
    "recsys robot root runner scheduler service somebody someone sudo superuser system test ubuntu "
    "unknown user".split()
)


def check_person(name: str) -> None:
    """Raises LedgerError unless ``name`` begins with the name of a person.

    Text in parentheses or after "by" (``ada (recsys)``, ``ada by manual__2026``) is ignored: it
    says through which interface the person acted.
    """
    person = re.split(r" \(| by ", name.strip(), maxsplit=1)[0].strip()
    account = re.split(r"[@\s]", person.casefold(), maxsplit=1)[0]
    if len(re.findall(r"[^\W\d_]", person)) < 2 or account.strip("._-0123456789") in _IMPERSONAL:
        raise LedgerError(
            "only a named person may override the gate",
            found=repr(name[:60]),
            expected="your own name, not a shared account",
            hint='set your name: RECSYS_ACTOR="Ada Lovelace" recsys promote ...',
        )


def check_servable(release: Release) -> None:
    """Raises LedgerError unless the release's state allows it to become the champion."""
    if release.state not in ledger.SERVABLE:
        allowed = ", ".join(sorted(ledger.SERVABLE))
        raise LedgerError(
            f"release {release.release_id} cannot become the champion",
            found=f"state {release.state}",
            expected=f"one of {allowed}",
            hint="`recsys releases` lists the releases and their states",
        )


def check_knows_no_more(conn: Connection, release: Release, champion: Release | None) -> None:
    """Raises LedgerError if a release may know an erased user whom the champion does not know.

    While the champion itself knows a user who is being erased, another release that does may
    replace it: readers get neither's rows of this user, and a site that must roll back can.
    """
    newest = ledger.newest_erasure(conn)
    least = newest if champion is None else min(newest, champion.erasures_covered)
    if release.erasures_covered < least:
        raise LedgerError(
            f"release {release.release_id} may know users who were erased",
            found=f"built or searched without the first {release.erasures_covered} of "
            f"{newest} erased users",
            expected=f"without the first {least}",
            hint="start a new run, which builds a release without them; `recsys erase` searches "
            "the retained releases",
        )


def check_accepted(
    conn: Connection, release: Release, champion: Release | None, run_id: str | None = None
) -> None:
    """Raises LedgerError unless a release was accepted against the champion that is live now.

    The newest decision counts. The champion must be the one that it was made against; no champion
    counts as one.

    Args:
        conn: the ledger.
        release: the release to promote.
        champion: the champion that is live now.
        run_id: the run that promotes without a person. The decision must be from this run, and the
            champion must not have changed since. A run that is repeated after a rollback would
            undo it otherwise, because the champion is then the one of the decision again.
    """
    standing = ledger.standing_decision(conn, release.release_id)
    if standing is None or not standing.decision.accepted:
        raise LedgerError(
            f"the gate has not accepted release {release.release_id}",
            found=standing.decision.reason if standing else "no decision",
            expected="an accepting decision",
            hint="run the pipeline again, or override the gate in your own name with --override",
        )
    if run_id not in (None, standing.run_id):
        raise LedgerError(
            f"another run has judged release {release.release_id} since",
            found=f"a decision of {standing.run_id}",
            expected=f"a decision of run {run_id}",
            hint=_JUDGE_AGAIN,
        )
    changed = champion is not None and champion.promoted_at and champion.promoted_at > standing.at
    if not _is_against(standing, champion) or (run_id is not None and changed):
        raise LedgerError(
            f"release {release.release_id} was accepted against an earlier champion",
            found=f"the decision of {_utc(standing.at)} against {standing.champion or 'none'}",
            expected=f"a decision against {_champion_since(champion)}",
            hint=_JUDGE_AGAIN,
        )


def override_gate(
    conn: Connection, release: Release, champion: Release | None, actor: Actor
) -> Release:
    """Records a person's decision to promote a complete release that the gate has not accepted.

    A rejected release becomes a candidate again in the same transaction, also if the gate accepted
    it and a person rejected it. If the gate has accepted a candidate against this champion, nothing
    is recorded.

    Returns:
        The updated release.
    """
    standing = ledger.standing_decision(conn, release.release_id)
    decision = standing.decision if standing else None
    complete = release.state in ledger.SERVABLE or release.state == State.REJECTED
    accepted = standing and standing.decision.accepted and _is_against(standing, champion)
    if not complete or (accepted and release.state != State.REJECTED):
        return release
    with ledger.acting(conn, actor):
        ledger.record_decision(
            conn,
            release.release_id,
            champion.release_id if champion else None,
            BY_HAND,
            override_decision(decision, actor=actor.name, reason=actor.reason),
            None,
        )
        ledger.note(
            conn,
            Action.GATE_OVERRIDDEN,
            actor=actor,
            release_id=release.release_id,
            found=decision.reason if decision else None,
        )
        if release.state == State.REJECTED:
            ledger.move(
                conn,
                release.release_id,
                State.CANDIDATE,
                actor=actor.because(f"override: {actor.reason}"),
            )
    return ledger.get(conn, release.release_id)


def _is_against(standing: StandingDecision, champion: Release | None) -> bool:
    return standing.champion == (champion.release_id if champion else None)


def _champion_since(champion: Release | None) -> str:
    if champion is None:
        return "no champion"
    since = f", champion since {_utc(champion.promoted_at)}" if champion.promoted_at else ""
    return f"{champion.release_id}{since}"


def _utc(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
