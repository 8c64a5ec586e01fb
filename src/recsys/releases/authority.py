"""Checks whether a release may be promoted: by the gate's decision, or by a person's override."""

from __future__ import annotations

import re
from typing import Final

from recsys import ledger
from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.gate import override_decision
from recsys.ledger import Action, Actor, Release, State

BY_HAND: Final = "by hand"
"""Stored in place of the run id in the decision of an override."""

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


def check_accepted(conn: Connection, release: Release) -> None:
    """Raises LedgerError unless the newest decision about this release accepts it."""
    decision = ledger.standing_decision(conn, release.release_id)
    if decision is None or not decision.accepted:
        raise LedgerError(
            f"the gate has not accepted release {release.release_id}",
            found=decision.reason if decision else "no decision",
            expected="an accepting decision",
            hint="run the pipeline again, or override the gate in your own name with --override",
        )


def override_gate(
    conn: Connection, release: Release, champion: Release | None, actor: Actor
) -> Release:
    """Records a person's decision to promote a complete release that the gate has not accepted.

    A rejected release becomes a candidate again in the same transaction. If the gate has accepted
    the release, nothing is recorded.

    Returns:
        The updated release.
    """
    decision = ledger.standing_decision(conn, release.release_id)
    complete = release.state in ledger.SERVABLE or release.state == State.REJECTED
    if not complete or (decision is not None and decision.accepted):
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
