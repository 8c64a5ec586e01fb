"""Tells people what happened, each event once on each channel.

Events are read from the ledger's history, so that nothing is lost when the process dies in which
they happened: whoever comes next tells them. A row is claimed before the telling and marked after
it. If a teller dies in between, or the answer is lost, nobody can know whether the alert arrived:

- a webhook and e-mail are told again, under the same name (header ``Idempotency-Key``, or the
  ``Message-ID``), by which the receiver knows a repetition;
- Slack knows no repetitions and is not told again: the alert stays among those untold, which are
  measured and have a rule of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg.rows import dict_row

from recsys import ledger
from recsys.alerts.channels import Alert, Channel, UnansweredError, configured_channels, ping
from recsys.alerts.settings import AlertSettings, Kind
from recsys.database import Connection
from recsys.errors import RecsysError
from recsys.ledger import State
from recsys.services import Services

log = logging.getLogger(__name__)

CLAIM_S: Final = 300
"""After so many seconds a claim that was not marked is another teller's to take, where the receiver
knows repetitions."""
PROMPT_TRIES: Final = 12
"""So often an alert is tried whenever alerts are sent, then once an hour."""
MAX_TRIES: Final = PROMPT_TRIES + 7 * 24
LOOK_BACK: Final = timedelta(days=7)
"""A channel that was down for longer is not told what it missed before."""
RUN_FAILED: Final = "run failed"
RUN_LATE: Final = "run late"
_BEGIN: Final = "begin"

_OF_STATE: Final = {
    State.REJECTED: (Kind.REJECTED, "Release {release_id} was rejected"),
    State.ROLLED_BACK: (Kind.ROLLED_BACK, "Release {release_id} was rolled back"),
    State.CHAMPION: (Kind.PROMOTED, "Release {release_id} is the champion"),
}
_OF_ACTION: Final = {
    RUN_FAILED: (Kind.RUN_FAILED, "A run of the recommender's pipeline failed"),
    RUN_LATE: (Kind.RUN_LATE, "A run of the recommender's pipeline is late"),
    "promotion undone": (Kind.RECOVERED, "An interrupted promotion of {release_id} was undone"),
    "rollback undone": (Kind.RECOVERED, "An interrupted rollback to {release_id} was undone"),
    "public copies mended": (Kind.RECOVERED, "The public copies in S3 were mended"),
    # A forced run that rejects what is or was served moves no state.
    "judged and rejected": (Kind.REJECTED, "Release {release_id} was judged again and rejected"),
    "gate overridden": (Kind.OVERRIDDEN, "The gate was overridden for release {release_id}"),
}


def send_alerts(
    services: Services, settings: AlertSettings, max_age: timedelta | None = None
) -> int:
    """Tells on every channel what was not told on it yet.

    A channel that fails does not keep the others from being told; it is tried again at the next
    call, and in the end once an hour for a week.

    Args:
        services: where the ledger is.
        settings: channels and kinds.
        max_age: how old the last success may be; None: that is not looked at.

    Returns:
        Number of alerts that were told.

    Raises:
        RecsysError: the ledger cannot be read.
    """
    told = 0
    listeners = configured_channels(settings)
    if not listeners:
        return told
    with services.connect() as conn:
        ledger.check_current(conn)
        for channel in listeners:
            begun = _begin(conn, channel.name)
            alerts = [*_from_history(conn, begun, settings.link)]
            if max_age is not None:
                alerts += _stale(conn, max_age, settings.link)
            for alert in alerts:
                if alert.kind in settings.kinds:
                    told += _tell(conn, channel, alert)
    return told


def send_test(settings: AlertSettings) -> list[tuple[str, str]]:
    """Tells a test alert on every channel; returns each channel's name and what went wrong."""
    now = datetime.now(UTC)
    name = f"test:{now.isoformat()}"
    alert = Alert(name, name, Kind.STALE, "This is a test: all is well")
    found = []
    for channel in configured_channels(settings):
        try:
            channel.send(alert)
        except RecsysError as error:
            found.append((channel.name, str(error)))
        else:
            found.append((channel.name, ""))
    return found


def heartbeat(settings: AlertSettings) -> bool:
    """Says that scheduler, database and object store work; False where nobody listens.

    Raises:
        ServiceUnavailableError: the listener did not answer.
    """
    if settings.heartbeat_url is None:
        return False
    ping(settings.heartbeat_url.get_secret_value())
    return True


def note_run(
    services: Services,
    settings: AlertSettings,
    action: str,
    *,
    run_id: str,
    dag_id: str,
    detail: str,
) -> None:
    """Writes into the history that a run failed or is late, once for a run.

    Args:
        services: where the ledger is; made if this was the first run and it failed at once.
        settings: channels; those that nobody listened on yet begin now, to be told of this.
        action: `RUN_FAILED` or `RUN_LATE`.
        run_id: the run.
        dag_id: its DAG.
        detail: what is known of it.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        for channel in configured_channels(settings):
            _begin(conn, channel.name)
        with conn.transaction():
            conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", (run_id,))
            known = conn.execute(
                "select 1 from recsys.history where action = %s and detail ->> 'run_id' = %s",
                (action, run_id),
            ).fetchone()
            if known is None:
                ledger.note(
                    conn, action, actor="airflow", reason=detail, run_id=run_id, dag_id=dag_id
                )


def count_events(conn: Connection) -> dict[Kind, int]:
    """How often each kind of event is in the history; those that are not kept there left out."""
    counts = dict.fromkeys([kind for kind, _ in (*_OF_STATE.values(), *_OF_ACTION.values())], 0)
    rows = conn.execute(
        "select action, to_state, count(*) from recsys.history "
        "where action = any(%s) or to_state = any(%s) group by action, to_state",
        (list(_OF_ACTION), [state.value for state in _OF_STATE]),
    ).fetchall()
    for action, to_state, count in rows:
        counts[_kind_of(action, to_state)[0]] += count
    return counts


def count_untold(conn: Connection) -> dict[str, int]:
    """By channel, the alerts of the last week that it was offered and has not taken."""
    return dict(
        conn.execute(
            "select channel, count(*) filter (where event <> %s and sent_at is null "
            "and claimed_at > clock_timestamp() - %s) from recsys.alerts group by channel",
            (_BEGIN, LOOK_BACK),
        ).fetchall()
    )


def _kind_of(action: str, to_state: str | None) -> tuple[Kind, str]:
    return _OF_STATE[State(to_state)] if to_state else _OF_ACTION[action]


def _begin(conn: Connection, channel: str) -> datetime:
    """When this channel was first listened to; a new one is not told the past."""
    conn.execute(
        "insert into recsys.alerts (event, channel, sent_at) values (%s, %s, clock_timestamp()) "
        "on conflict do nothing",
        (_BEGIN, channel),
    )
    begun: datetime
    [(begun,)] = conn.execute(
        "select greatest(claimed_at, clock_timestamp() - %s) from recsys.alerts "
        "where event = %s and channel = %s",
        (LOOK_BACK, _BEGIN, channel),
    ).fetchall()
    return begun


def _from_history(conn: Connection, since: datetime, link: str) -> Iterable[Alert]:
    with conn.cursor(row_factory=dict_row) as cur:
        lines = cur.execute(
            "select id, at, actor, reason, action, release_id, to_state, detail "
            "from recsys.history where at >= %s "
            "and (action = any(%s) or to_state = any(%s)) order by id",
            (since, list(_OF_ACTION), [state.value for state in _OF_STATE]),
        ).fetchall()
    for line in lines:
        kind, title = _kind_of(line["action"], line["to_state"])
        yield Alert(
            f"history:{line['id']}",
            # Every ledger counts from 1, also one made anew: the moment tells them apart.
            f"history:{line['id']}:{line['at'].astimezone(UTC).isoformat()}",
            kind,
            title.format(release_id=line["release_id"]),
            _facts(line),
            link,
        )


def _facts(line: dict[str, Any]) -> dict[str, str]:
    facts = {
        "reason": line["reason"],
        "by": line["actor"],
        "at": f"{line['at']:%Y-%m-%d %H:%M:%S} UTC",
        "run": (line["detail"] or {}).get("run_id", ""),
    }
    return {name: value for name, value in facts.items() if value}


def _stale(conn: Connection, max_age: timedelta, link: str) -> Sequence[Alert]:
    last = ledger.last_success(conn)
    if last is None or datetime.now(UTC) - last <= max_age:
        return []
    facts = {"last success": f"{last:%Y-%m-%d %H:%M} UTC", "allowed": f"{max_age.days} days"}
    title = "No run of the recommender's pipeline has succeeded for too long"
    # Named after the last success: told once, and again only after another one.
    name = f"stale:{last.isoformat()}"
    return [Alert(name, name, Kind.STALE, title, facts, link)]


def _tell(conn: Connection, channel: Channel, alert: Alert) -> bool:
    claimed = conn.execute(
        "insert into recsys.alerts as a (event, channel, tries) values (%s, %s, 1) "
        "on conflict (event, channel) do update "
        "set tries = a.tries + 1, claimed_at = clock_timestamp(), error = null "
        "where a.sent_at is null and a.tries < %s and a.claimed_at <= clock_timestamp() - "
        # No interval is never over: an unmarked claim stays its teller's for ever.
        "make_interval(secs => case when a.error is null then %s::float8 when a.tries < %s then 0 "
        "else 3600 end) returning 1",
        (
            alert.event,
            channel.name,
            MAX_TRIES,
            CLAIM_S if channel.knows_repetitions else None,
            PROMPT_TRIES,
        ),
    ).fetchone()
    if claimed is None:
        return False
    try:
        channel.send(alert)
    except RecsysError as error:
        log.warning("%s", error)
        if isinstance(error, UnansweredError) and not channel.knows_repetitions:
            return False
        conn.execute(
            "update recsys.alerts set error = %s where event = %s and channel = %s",
            (str(error)[:500], alert.event, channel.name),
        )
        return False
    conn.execute(
        "update recsys.alerts set sent_at = clock_timestamp() where event = %s and channel = %s",
        (alert.event, channel.name),
    )
    return True
