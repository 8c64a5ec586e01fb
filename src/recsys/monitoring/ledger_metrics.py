"""The ledger in numbers: what is live, how old it is, what has happened so far.

Counted from the ledger each time, so that nothing is missed that happened on the command line or
in a process that died.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from recsys import alerts, ledger
from recsys.database import Connection
from recsys.ledger import Release, State
from recsys.monitoring import metrics
from recsys.monitoring.metrics import Measurement
from recsys.services import Services


def measure_ledger(services: Services) -> list[Measurement]:
    """Takes every measurement of the ledger; nothing before the first run.

    Raises:
        ServiceUnavailableError: PostgreSQL does not answer.
        LedgerError: the ledger belongs to another revision of this software.
    """
    with services.connect() as conn:
        if not ledger.applied(conn):
            return []
        ledger.check_current(conn)
        return list(_measure(conn))


def _measure(conn: Connection) -> Iterator[Measurement]:
    yield metrics.MEASURED(datetime.now(UTC).timestamp())
    last = ledger.last_success(conn)
    if last is not None:
        yield metrics.LAST_SUCCESS(last.timestamp())
    champion = ledger.champion(conn)
    if champion is not None:
        yield from _of_champion(champion)
    [(age,)] = conn.execute(
        "select coalesce(extract(epoch from clock_timestamp() - min(opened_at)), 0)::float8 "
        "from recsys.journal where closed_at is null"
    ).fetchall()
    yield metrics.JOURNAL_AGE(age)
    states = dict(_rows(conn, "select state, count(*) from recsys.releases group by state"))
    for state in State:
        yield metrics.RELEASES(states.get(state.value, 0), state=state.value)
    for kind, count in alerts.count_events(conn).items():
        yield metrics.EVENTS(count, kind=kind.value)
    for channel, untold in alerts.count_untold(conn).items():
        yield metrics.UNTOLD(untold, channel=channel)


def _of_champion(champion: Release) -> Iterator[Measurement]:
    if champion.promoted_at is not None:
        yield metrics.CHAMPION_PROMOTED(champion.promoted_at.timestamp())
    for metric, value in champion.complete_manifest.metrics.get("model", {}).items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield metrics.CHAMPION_QUALITY(value, metric=metric)


def _rows(conn: Connection, query: Any) -> list[tuple[str, int]]:
    return conn.execute(query).fetchall()
