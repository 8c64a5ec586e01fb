"""What the forward tests say about the champion."""

from __future__ import annotations

from typing import Any

from recsys import ledger
from recsys.database import Connection
from recsys.gate import better_release, consistency, coverage
from recsys.ledger import Release, State


def proposed_rollback(conn: Connection, champion: Release | None) -> tuple[str, str] | None:
    """Returns the older release that surely beats the champion, and why; None if there is none.

    Only the tests on the newest dataset count, if the champion is still the one that was tested
    and a rollback to the other release is possible.
    """
    tests = [one.test for one in ledger.newest_forward_tests(conn)]
    tested = next((test.release_id for test in tests if test.was_champion), None)
    if champion is None or tested != champion.release_id:
        return None
    found = better_release(tests)
    if found is None:
        return None
    release = ledger.find(conn, found[0])
    servable = release is not None and release.state in (State.SUPERSEDED, State.ROLLED_BACK)
    return found if servable else None


def forward_facts(conn: Connection, release: Release) -> dict[str, Any]:
    """Returns a release's forward tests, the coverage of all, and a proposed rollback, as JSON."""
    champion = release if release.state == State.CHAMPION else None
    proposed = proposed_rollback(conn, champion)
    tests = [one.test for one in ledger.forward_tests(conn)]
    return {
        "tests": [
            {**one.test.model_dump(mode="json"), "at": one.at, "run_id": one.run_id}
            for one in ledger.forward_tests(conn, release_id=release.release_id, limit=10)
        ],
        "coverage": {name: list(counts) for name, counts in coverage(tests).items()},
        "consistency": {name: list(counts) for name, counts in consistency(tests).items()},
        "proposed_rollback": (
            {"release_id": proposed[0], "reason": proposed[1]} if proposed else None
        ),
    }
