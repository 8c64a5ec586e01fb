"""Alerts from the ledger: which events of the history are worth one, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg.rows import dict_row

from recsys import ledger
from recsys.alerts.channels import Alert
from recsys.alerts.settings import AlertKind
from recsys.database import Connection
from recsys.ledger import Action, State

_OF_STATE: Final = {
    State.REJECTED: (AlertKind.REJECTED, "Release {release_id} was rejected"),
    State.ROLLED_BACK: (AlertKind.ROLLED_BACK, "Release {release_id} was rolled back"),
    State.CHAMPION: (AlertKind.PROMOTED, "Release {release_id} is the champion"),
}
_OF_ACTION: Final = {
    Action.RUN_FAILED: (AlertKind.RUN_FAILED, "A run of the recommender's pipeline failed"),
    Action.RUN_LATE: (AlertKind.RUN_LATE, "A run of the recommender's pipeline is late"),
    Action.PROMOTION_UNDONE: (
        AlertKind.RECOVERED,
        "An interrupted promotion of {release_id} was undone",
    ),
    Action.ROLLBACK_UNDONE: (
        AlertKind.RECOVERED,
        "An interrupted rollback to {release_id} was undone",
    ),
    Action.PUBLIC_COPIES_REPAIRED: (AlertKind.RECOVERED, "The public copies in S3 were repaired"),
    Action.REJECTED_AGAIN: (
        AlertKind.REJECTED,
        "Release {release_id} was judged again and rejected",
    ),
    Action.GATE_OVERRIDDEN: (
        AlertKind.OVERRIDDEN,
        "The gate was overridden for release {release_id}",
    ),
    Action.CHAMPION_DECAYED: (
        AlertKind.DECAYED,
        "Release {release_id} is worse than the gate had promised",
    ),
}
_ACTIONS: Final = [action.value for action in _OF_ACTION]
_STATES: Final = [state.value for state in _OF_STATE]


def history_alerts(conn: Connection, since: datetime, link: str) -> Iterator[Alert]:
    """Yields an alert for each event of the history since a time, oldest first."""
    with conn.cursor(row_factory=dict_row) as cur:
        events = cur.execute(
            "select id, at, actor, origin, reason, action, release_id, run_id, to_state, "
            "detail->>'dag_id' as dag_id from recsys.history where at >= %s "
            "and (action = any(%s) or to_state = any(%s)) order by id",
            (since, _ACTIONS, _STATES),
        ).fetchall()
    for event in events:
        kind, title = _kind_of(event["action"], event["to_state"])
        yield Alert(
            f"history:{event['id']}",
            # Ids restart at 1 in another ledger; the time makes the key unique among ledgers.
            f"history:{event['id']}:{event['at'].astimezone(UTC).isoformat()}",
            kind,
            title.format(release_id=event["release_id"]),
            _facts(event),
            link,
        )


def stale_alerts(conn: Connection, max_age: timedelta, link: str) -> Sequence[Alert]:
    """Returns an alert if the last success is older than ``max_age``, else nothing."""
    last = ledger.last_success(conn)
    if last is None or datetime.now(UTC) - last <= max_age:
        return []
    facts = {"last success": f"{last:%Y-%m-%d %H:%M} UTC", "allowed": f"{max_age.days} days"}
    title = "No run of the recommender's pipeline has succeeded for too long"
    # The key holds the last success, so the alert is sent once until another run succeeds.
    name = f"stale:{last.isoformat()}"
    return [Alert(name, name, AlertKind.STALE, title, facts, link)]


@dataclass(frozen=True)
class EventSummary:
    """How often an event happened, and when it last did (None: never)."""

    count: int = 0
    newest: datetime | None = None


def summarize_events(conn: Connection) -> dict[AlertKind, EventSummary]:
    """Summarizes the history by kind of alert; kinds that are not stored are left out."""
    summaries = no_events()
    rows = conn.execute(
        "select action, to_state, count(*), max(at) from recsys.history "
        "where action = any(%s) or to_state = any(%s) group by action, to_state",
        (_ACTIONS, _STATES),
    ).fetchall()
    for action, to_state, count, newest in rows:
        kind = _kind_of(action, to_state)[0]
        before = summaries[kind]
        summaries[kind] = EventSummary(
            before.count + count, newest if before.newest is None else max(before.newest, newest)
        )
    return summaries


def no_events() -> dict[AlertKind, EventSummary]:
    """Returns the summary of an empty history."""
    kinds = [kind for kind, _ in (*_OF_STATE.values(), *_OF_ACTION.values())]
    return dict.fromkeys(kinds, EventSummary())


def _kind_of(action: str, to_state: str | None) -> tuple[AlertKind, str]:
    return _OF_STATE[State(to_state)] if to_state else _OF_ACTION[Action(action)]


def _facts(event: dict[str, Any]) -> dict[str, str]:
    facts = {
        "reason": event["reason"],
        "by": event["actor"],
        "from": event["origin"],
        "at": f"{event['at']:%Y-%m-%d %H:%M:%S} UTC",
        "run": event["run_id"],
        "DAG": event["dag_id"],
    }
    return {name: value for name, value in facts.items() if value}
