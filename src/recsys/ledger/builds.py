"""Liveness of releases: one that no run works on any more is abandoned, however young it is.

While a release is being built or waits for a promotion, ``changed_at`` is when a run last worked on
it, or was last seen open.
"""

from __future__ import annotations

from collections.abc import Iterable

from recsys.database import Connection
from recsys.errors import LedgerError
from recsys.ledger.actor import Actor
from recsys.ledger.lifecycle import acting
from recsys.ledger.releases import Release, get
from recsys.ledger.states import State

_UNFINISHED = [State.BUILDING.value, State.CANDIDATE.value]
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
        "where state = any(%s) and release_id = %s",
        (_UNFINISHED, release_id),
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


def abandon_build(conn: Connection, release_id: str, *, actor: Actor) -> bool:
    """Marks a release that is being built as abandoned; returns whether it was.

    Other states stay: a complete release does not lose its state because a later run failed.
    """
    return bool(_abandon(conn, "release_id = %s and state = %s", release_id, actor))


def abandon_run(conn: Connection, run_id: str, *, actor: Actor) -> list[str]:
    """Marks what a run was building as abandoned, because the run was stopped; returns the ids."""
    return _abandon(conn, "run_id = %s and state = %s", run_id, actor)


def _abandon(conn: Connection, condition: str, value: str, actor: Actor) -> list[str]:
    with acting(conn, actor):
        rows = conn.execute(
            f"update recsys.releases set state = %s where {condition} returning release_id",  # noqa: S608  constants
            (State.ABANDONED.value, value, State.BUILDING.value),
        ).fetchall()
    return [release_id for (release_id,) in rows]


def unfinished_runs(conn: Connection) -> list[str]:
    """Returns the runs that build releases, or judged the candidates that wait for a promotion."""
    rows = conn.execute(
        "select run_id from recsys.releases where state = any(%s) union "
        "select d.run_id from recsys.decisions d join recsys.releases r using (release_id) "
        "where r.state = %s",
        (_UNFINISHED, State.CANDIDATE.value),
    ).fetchall()
    return [run_id for (run_id,) in rows]


def keep_releases(conn: Connection, run_ids: Iterable[str]) -> None:
    """Records that these runs are still open, so that their releases are not abandoned."""
    runs = list(run_ids)
    conn.execute(
        "update recsys.releases r set changed_at = clock_timestamp() "
        "where state = any(%s) and (run_id = any(%s) or exists (select from recsys.decisions d "
        "where d.release_id = r.release_id and d.run_id = any(%s)))",
        (_UNFINISHED, runs, runs),
    )
