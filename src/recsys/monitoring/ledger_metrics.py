"""Metrics of the ledger: champion, ages, states and events.

Each measurement is computed from the ledger, so that it includes changes from the command line and
from processes that died.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from recsys import alerts, ledger
from recsys.database import Connection
from recsys.ledger import Release
from recsys.monitoring import metrics
from recsys.monitoring.metrics import Measurement
from recsys.services import Services


def measure_ledger(services: Services) -> list[Measurement]:
    """Returns all measurements of the ledger; none before the first run.

    Raises:
        ServiceUnavailableError: PostgreSQL does not respond.
        LedgerError: the ledger's schema is older or newer than this code.
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
        yield from _champion_measurements(champion)
    yield metrics.JOURNAL_AGE(ledger.oldest_journal_age(conn))
    for state, count in ledger.state_counts(conn).items():
        yield metrics.RELEASES(count, state=state.value)
    for kind, count in alerts.count_events(conn).items():
        yield metrics.EVENTS(count, kind=kind.value)
    for channel, count in alerts.count_undelivered(conn).items():
        yield metrics.UNDELIVERED(count, channel=channel)


def _champion_measurements(champion: Release) -> Iterator[Measurement]:
    if champion.promoted_at is not None:
        yield metrics.CHAMPION_PROMOTED(champion.promoted_at.timestamp())
    for metric, value in champion.complete_manifest.metrics.model.values().items():
        yield metrics.CHAMPION_QUALITY(value, metric=metric)
