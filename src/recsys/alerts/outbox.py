"""Delivery of alerts: each event once on each channel.

Events are read from the ledger's history, so none is lost if the process that caused it dies: the
next call sends it. A row of ``recsys.alerts`` is claimed before an alert is sent and marked after
it. If the sender dies in between, or the response is lost, delivery is uncertain:

- A webhook and e-mail get the alert again with the same key (header ``Idempotency-Key``, or the
  ``Message-ID``), so the receiver can drop the duplicate.
- Slack has no such key, so the alert is not sent again. It counts as undelivered, which is a metric
  with an alerting rule of its own.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from recsys import ledger
from recsys.alerts.channels import (
    Alert,
    Channel,
    UnconfirmedDeliveryError,
    configured_channels,
    ping,
)
from recsys.alerts.events import history_alerts, stale_alerts
from recsys.alerts.settings import AlertKind, AlertSettings
from recsys.database import Connection
from recsys.errors import RecsysError
from recsys.ledger import Action, Actor
from recsys.services import Services

log = logging.getLogger(__name__)

CLAIM_S: Final = 300
"""Seconds after which another process may take over a claim that was not marked, if the receiver
drops duplicates."""
IMMEDIATE_ATTEMPTS: Final = 12
"""Attempts, one at each call, before retries become hourly."""
MAX_ATTEMPTS: Final = IMMEDIATE_ATTEMPTS + 7 * 24
LOOK_BACK: Final = timedelta(days=7)
"""Older events are not sent, even if the channel was down since."""
_BEGIN: Final = "begin"


def send_alerts(
    services: Services, settings: AlertSettings, max_age: timedelta | None = None
) -> int:
    """Sends, on every channel, the alerts that were not sent on it yet.

    A channel that fails does not affect the others. It is tried again at the next calls, then once
    an hour for a week.

    Args:
        services: access to the ledger.
        settings: channels and kinds.
        max_age: age of the last success beyond which an alert is sent; None: no such alert.

    Returns:
        Number of alerts sent.

    Raises:
        RecsysError: the ledger cannot be read.
    """
    sent = 0
    channels = configured_channels(settings)
    if not channels:
        return sent
    with services.connect() as conn:
        ledger.check_current(conn)
        for channel in channels:
            since = _begin(conn, channel.name)
            alerts = [*history_alerts(conn, since, settings.link)]
            if max_age is not None:
                alerts += stale_alerts(conn, max_age, settings.link)
            for alert in alerts:
                if alert.kind in settings.kinds:
                    sent += _send_once(conn, channel, _titled(alert, settings.recommender))
    return sent


def _titled(alert: Alert, recommender: str) -> Alert:
    return replace(alert, title=f"{recommender}: {alert.title}") if recommender else alert


def send_test(settings: AlertSettings) -> list[tuple[str, str]]:
    """Sends a test alert on every channel; returns channel names and errors ("": none)."""
    now = datetime.now(UTC)
    name = f"test:{now.isoformat()}"
    alert = Alert(name, name, AlertKind.STALE, "This is a test alert; nothing is wrong")
    results = []
    for channel in configured_channels(settings):
        try:
            channel.send(_titled(alert, settings.recommender))
        except RecsysError as error:
            results.append((channel.name, str(error)))
        else:
            results.append((channel.name, ""))
    return results


def heartbeat(settings: AlertSettings) -> bool:
    """Pings the heartbeat URL; returns False if none is configured.

    Raises:
        ServiceUnavailableError: the URL did not respond with success.
    """
    if settings.heartbeat_url is None:
        return False
    ping(settings.heartbeat_url.get_secret_value())
    return True


def note_run(
    services: Services,
    settings: AlertSettings,
    action: Action,
    *,
    run_id: str,
    dag_id: str,
    reason: str,
    once: str | None = None,
) -> None:
    """Records in the history that a run failed or is late, so that an alert is sent.

    Args:
        services: access to the ledger, which is created if the very first run failed.
        settings: channels; those that were never used begin now, so that they get this event.
        action: `Action.RUN_FAILED` or `Action.RUN_LATE`.
        run_id: the run.
        dag_id: its DAG.
        reason: what is known about the cause.
        once: identifies what is recorded once; by default the run. A run that was cleared fails
            again with another one.
    """
    with services.connect() as conn:
        ledger.prepare(conn)
        for channel in configured_channels(settings):
            _begin(conn, channel.name)
        actor = Actor.from_run(run_id, reason)
        ledger.note_once(conn, action, actor=actor, run_id=run_id, once=once, dag_id=dag_id)


def count_undelivered(conn: Connection) -> dict[str, int]:
    """Counts, by channel, the alerts of the last week that were attempted and not delivered."""
    return dict(
        conn.execute(
            "select channel, count(*) filter (where event <> %s and sent_at is null "
            "and claimed_at > clock_timestamp() - %s) from recsys.alerts group by channel",
            (_BEGIN, LOOK_BACK),
        ).fetchall()
    )


def _begin(conn: Connection, channel: str) -> datetime:
    """Returns the time since which a channel gets events: its first use, at most a week ago."""
    conn.execute(
        "insert into recsys.alerts (event, channel, sent_at) values (%s, %s, clock_timestamp()) "
        "on conflict do nothing",
        (_BEGIN, channel),
    )
    first_use: datetime
    [(first_use,)] = conn.execute(
        "select greatest(claimed_at, clock_timestamp() - %s) from recsys.alerts "
        "where event = %s and channel = %s",
        (LOOK_BACK, _BEGIN, channel),
    ).fetchall()
    return first_use


def _send_once(conn: Connection, channel: Channel, alert: Alert) -> bool:
    """Claims and sends an alert; returns False if it was sent already, is claimed, or failed."""
    claim = conn.execute(
        "insert into recsys.alerts as a (event, channel, tries) values (%s, %s, 1) "
        "on conflict (event, channel) do update "
        "set tries = a.tries + 1, claimed_at = clock_timestamp(), error = null "
        "where a.sent_at is null and a.tries < %s and a.claimed_at <= clock_timestamp() - "
        # A null interval makes the comparison null, so an unmarked claim is never taken over.
        "make_interval(secs => case when a.error is null then %s::float8 when a.tries < %s then 0 "
        "else 3600 end) returning 1",
        (
            alert.event,
            channel.name,
            MAX_ATTEMPTS,
            CLAIM_S if channel.supports_idempotency_key else None,
            IMMEDIATE_ATTEMPTS,
        ),
    ).fetchone()
    if claim is None:
        return False
    try:
        channel.send(alert)
    except RecsysError as error:
        log.warning("%s", error)
        if isinstance(error, UnconfirmedDeliveryError) and not channel.supports_idempotency_key:
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
