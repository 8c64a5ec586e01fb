"""Liveness of builds: a build that no run works on any more is abandoned, however old it is."""

from __future__ import annotations

from collections.abc import Iterable

from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.ledger.releases import Release, get
from recsys.ledger.states import State

_ENDED = (State.ABANDONED, State.RETIRING, State.RETIRED)


def continue_build(conn: Connection, release_id: str) -> Release:
    """Records that a run works on a release now; returns the release.

    Every step of a run calls this before it writes anything, so that a cleared task of an old run
    leaves no table or object of a release that was abandoned.

    Raises:
        LedgerError: the release was abandoned or retired.
    """
    conn.execute(
        "update recsys.releases set changed_at = clock_timestamp() "
        "where state = %s and release_id = %s",
        (State.BUILDING.value, release_id),
    )
    release = get(conn, release_id)
    if release.state in _ENDED:
        raise LedgerError(
            f"this run cannot continue release {release_id}, whose tables and objects are deleted",
            found=f"state {release.state}",
            expected="a release that is being built, or is complete",
            hint="clear the task data_is_new with all later tasks, which begins the build again, "
            "or start a new run",
        )
    return release


def building_runs(conn: Connection) -> list[str]:
    """Returns the runs that began or resumed the builds that are not complete."""
    rows = conn.execute(
        "select distinct run_id from recsys.releases where state = %s", (State.BUILDING.value,)
    ).fetchall()
    return [run_id for (run_id,) in rows]


def keep_builds(conn: Connection, run_ids: Iterable[str]) -> None:
    """Records that these runs are still open, so that their builds are not abandoned."""
    conn.execute(
        "update recsys.releases set changed_at = clock_timestamp() "
        "where state = %s and run_id = any(%s)",
        (State.BUILDING.value, list(run_ids)),
    )
