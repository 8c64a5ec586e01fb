"""The append-only records of the ledger: the history and the gate's decisions.

The database refuses to change or delete their rows. Every function runs in the caller's
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from recsys.contract import Md5
from recsys.database import Connection
from recsys.gate import Decision
from recsys.ledger.actions import Action
from recsys.ledger.actor import Actor

UNDONE: Final = {"promotion": Action.PROMOTION_UNDONE, "rollback": Action.ROLLBACK_UNDONE}
"""The event of undoing a journal, by the journal's kind."""


@dataclass(frozen=True)
class StandingDecision:
    """The newest decision on a release, and what it was based on.

    Attributes:
        decision: the decision of the gate or of a person.
        champion: the champion at that time; None if there was none, or if it was this release.
        run_id: the run that judged; for an override, the text that stands in its place.
        at: when it was recorded.
    """

    decision: Decision
    champion: str | None
    run_id: str
    at: datetime


def note(
    conn: Connection,
    action: Action,
    *,
    actor: Actor,
    release_id: str | None = None,
    run_id: str | None = None,
    **detail: Any,
) -> None:
    """Adds an event that changes no state to the history."""
    conn.execute(
        "insert into recsys.history (actor, origin, reason, action, release_id, run_id, detail) "
        "values (%s, %s, %s, %s, %s, %s, %s)",
        (actor.name, actor.origin, actor.reason, action, release_id, run_id, Jsonb(detail)),
    )


def note_once(
    conn: Connection,
    action: Action,
    *,
    actor: Actor,
    run_id: str | None,
    release_id: str | None = None,
    once: str | None = None,
    **detail: Any,
) -> None:
    """Adds an event of a run to the history unless the run already has it.

    Args:
        conn: connection to the ledger.
        action: the event.
        actor: who caused it.
        run_id: the run; None if a person caused it, who needs ``once``.
        release_id: the release that it is about.
        once: what may happen once, if not the event of this run: a run that is cleared can fail
            again, and the runs of a frequent DAG fail for one cause.
        detail: further fields.
    """
    with conn.transaction():
        lock = run_id if once is None else once
        conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", (lock,))
        column = sql.SQL("run_id" if once is None else "detail->>'once'")
        query = sql.SQL("select 1 from recsys.history where action = %s and {} = %s")
        if conn.execute(query.format(column), (action, lock)).fetchone() is None:
            kept = detail if once is None else {**detail, "once": once}
            note(conn, action, actor=actor, release_id=release_id, run_id=run_id, **kept)


def history(
    conn: Connection, release_id: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Returns the newest events, newest first; only those of ``release_id`` if it is given."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "select at, actor, origin, reason, action, release_id, run_id, from_state, to_state, "
            "detail from recsys.history where %(id)s::text is null or release_id = %(id)s "
            "order by at desc, id desc limit %(limit)s",
            {"id": release_id, "limit": limit},
        ).fetchall()


def run_events(conn: Connection, actions: Iterable[Action], limit: int) -> list[dict[str, Any]]:
    """Returns the newest events of runs, newest first: ``action``, ``run_id``, release, reason."""
    with conn.cursor(row_factory=dict_row) as cur:
        return cur.execute(
            "select action, run_id, release_id, reason from recsys.history "
            "where action = any(%s) and run_id is not null order by at desc, id desc limit %s",
            ([action.value for action in actions], limit),
        ).fetchall()


def record_decision(
    conn: Connection,
    release_id: str,
    champion_id: str | None,
    run_id: str,
    decision: Decision,
    diff: dict[str, Any] | None,
) -> None:
    """Stores a decision of the gate, and the differences from the champion that the site sees."""
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
    """Returns the newest decision on a release and its stored diff; None if there is none."""
    row = conn.execute(
        "select decision, diff from recsys.decisions where release_id = %s "
        "order by id desc limit 1",
        (release_id,),
    ).fetchone()
    return None if row is None else (Decision.model_validate(row[0]), row[1])


def last_decided_release(conn: Connection) -> str | None:
    """Returns the release of the newest decision of all; None before the first."""
    row = conn.execute(
        "select release_id from recsys.decisions order by id desc limit 1"
    ).fetchone()
    return None if row is None else row[0]


def run_decisions(conn: Connection, limit: int) -> list[tuple[str, str, Decision]]:
    """Returns run id, release id and decision of the gate's newest decisions, newest first.

    Overrides are left out: no run made them.
    """
    rows = conn.execute(
        "select run_id, release_id, decision from recsys.decisions "
        "where decision ->> 'override' is null order by id desc limit %s",
        (limit,),
    ).fetchall()
    return [(run, release, Decision.model_validate(decision)) for run, release, decision in rows]


def judged_against(conn: Connection, release_id: str) -> str | None:
    """Returns the champion that the gate compared a release with; None if there was none.

    An override compares nothing, so the decision that it overrides counts.
    """
    row = conn.execute(
        "select champion from recsys.decisions where release_id = %s "
        "order by (decision ->> 'override' is null) desc, id desc limit 1",
        (release_id,),
    ).fetchone()
    return None if row is None else row[0]


def compared_dataset(conn: Connection, release_id: str) -> Md5 | None:
    """Returns the dataset of the champion at the newest decision on a release.

    None if there is no decision, or there was no champion.
    """
    row = conn.execute(
        "select c.dataset_md5 from recsys.decisions d left join recsys.releases c "
        "on c.release_id = d.champion where d.release_id = %s order by d.id desc limit 1",
        (release_id,),
    ).fetchone()
    return row[0] if row else None


def standing_decision(conn: Connection, release_id: str) -> StandingDecision | None:
    """Returns the newest decision on a release since it was last completed; None if none."""
    row = conn.execute(
        "select d.decision, d.champion, d.run_id, d.at "
        "from recsys.decisions d join recsys.releases r using (release_id) "
        "where release_id = %s and d.at >= r.completed_at order by d.id desc limit 1",
        (release_id,),
    ).fetchone()
    return None if row is None else StandingDecision(Decision.model_validate(row[0]), *row[1:])


def last_success(conn: Connection) -> datetime | None:
    """Returns when a run last judged a candidate or found nothing new; None before the first."""
    last: datetime | None
    [(last,)] = conn.execute(
        "select greatest((select max(at) from recsys.decisions "
        "where decision ->> 'override' is null), "
        "(select max(at) from recsys.history where action = %s))",
        (Action.NOTHING_NEW,),
    ).fetchall()
    return last
