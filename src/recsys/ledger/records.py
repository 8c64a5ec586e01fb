"""What the ledger remembers besides states: history, decisions, the dataset last brought live.

Rows here are only ever added; the database refuses to change them. Every function runs in the
caller's transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from recsys.database import Connection
from recsys.gate import Decision

NOTHING_NEW: Final = "nothing new"


def note(
    conn: Connection,
    action: str,
    *,
    actor: str,
    reason: str,
    release_id: str | None = None,
    **detail: Any,
) -> None:
    """Adds a line to the history for something that moves no state."""
    conn.execute(
        "insert into recsys.history (actor, reason, action, release_id, detail) "
        "values (%s, %s, %s, %s, %s)",
        (actor, reason, action, release_id, Jsonb(detail)),
    )


def history(
    conn: Connection, release_id: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """The newest lines of the history, newest first; of one release if one is named."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "select at, actor, reason, action, release_id, from_state, to_state, detail "
            "from recsys.history where %(id)s::text is null or release_id = %(id)s "
            "order by id desc limit %(limit)s",
            {"id": release_id, "limit": limit},
        ).fetchall()


def record_decision(
    conn: Connection,
    release_id: str,
    champion_id: str | None,
    run_id: str,
    decision: Decision,
    diff: dict[str, Any] | None,
) -> None:
    """Stores a decision of the gate, and what the site would notice."""
    conn.execute(
        "insert into recsys.decisions (release_id, champion, run_id, accepted, decision, diff) "
        "values (%s, %s, %s, %s, %s, %s)",
        (
            release_id,
            champion_id,
            run_id,
            decision.accepted,
            Jsonb(decision.model_dump(mode="json")),
            Jsonb(diff) if diff is not None else None,
        ),
    )


def last_decision(
    conn: Connection, release_id: str
) -> tuple[Decision, dict[str, Any] | None] | None:
    """The gate's newest decision about a release and the diff stored with it, or None."""
    row = conn.execute(
        "select decision, diff from recsys.decisions where release_id = %s "
        "order by id desc limit 1",
        (release_id,),
    ).fetchone()
    return None if row is None else (Decision.model_validate(row[0]), row[1])


def judged_against(conn: Connection, release_id: str) -> str | None:
    """The champion that the newest decision about a release held it against; None: there was none.

    An override holds it against nothing; the decision that it overrode did.
    """
    row = conn.execute(
        "select champion from recsys.decisions where release_id = %s "
        "order by (decision ->> 'override' is null) desc, id desc limit 1",
        (release_id,),
    ).fetchone()
    return None if row is None else row[0]


def standing_decision(conn: Connection, release_id: str) -> Decision | None:
    """The newest decision about a release as it is now: none from before it was made again."""
    row = conn.execute(
        "select d.decision from recsys.decisions d join recsys.releases r using (release_id) "
        "where release_id = %s and d.at >= r.completed_at order by d.id desc limit 1",
        (release_id,),
    ).fetchone()
    return None if row is None else Decision.model_validate(row[0])


def note_nothing_new(conn: Connection, release_id: str, run_id: str, actor: str) -> None:
    """Records that a run looked and found no build to judge: that, too, is a success."""
    note(conn, NOTHING_NEW, actor=actor, reason=f"run {run_id}", release_id=release_id)


def last_success(conn: Connection) -> datetime | None:
    """When a run last judged a candidate or found nothing new; None before the first."""
    last: datetime | None
    [(last,)] = conn.execute(
        "select greatest((select max(at) from recsys.decisions "
        "where decision ->> 'override' is null), "
        "(select max(at) from recsys.history where action = %s))",
        (NOTHING_NEW,),
    ).fetchall()
    return last


def update_internal_hash(conn: Connection, release_id: str, run_id: str) -> None:
    """Records that production was brought up to the release's dataset; once a run."""
    conn.execute(
        "insert into recsys.internal_hash (dataset_md5, release_id, run_id) "
        "select dataset_md5, release_id, %s from recsys.releases where release_id = %s "
        "on conflict (run_id) do nothing",
        (run_id, release_id),
    )
