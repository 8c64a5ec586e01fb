"""Metrics of the ledger: champion, ages, states and events.

Each measurement is computed from the ledger, so that it includes changes from the command line and
from processes that died.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from recsys import alerts, ledger
from recsys.database import Connection
from recsys.gate import coverage
from recsys.ledger import Release, State
from recsys.monitoring import metrics
from recsys.monitoring.metrics import Measurement
from recsys.services import Services


def measure_ledger(services: Services) -> list[Measurement]:
    """Returns all measurements of the ledger.

    Before the first run they are the time of the measurement and zeros, so that monitoring sees
    that measuring works, and the first event as a change.

    Raises:
        ServiceUnavailableError: PostgreSQL does not respond.
        LedgerError: the ledger's schema is older or newer than this code.
    """
    with services.connect() as conn:
        if not ledger.applied(conn):
            return list(_measure_nothing())
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
    yield from _forward_measurements(conn)
    yield metrics.JOURNAL_AGE(ledger.oldest_journal_age(conn))
    for state, count in ledger.state_counts(conn).items():
        yield metrics.RELEASES(count, state=state.value)
    yield from _event_measurements(alerts.summarize_events(conn))
    for channel, count in alerts.count_undelivered(conn).items():
        yield metrics.UNDELIVERED(count, channel=channel)


def _measure_nothing() -> Iterator[Measurement]:
    yield metrics.MEASURED(datetime.now(UTC).timestamp())
    yield metrics.JOURNAL_AGE(0)
    for state in State:
        yield metrics.RELEASES(0, state=state.value)
    yield from _event_measurements(alerts.no_events())


def _event_measurements(
    events: Mapping[alerts.AlertKind, alerts.EventSummary],
) -> Iterator[Measurement]:
    for kind, summary in events.items():
        yield metrics.EVENTS(summary.count, kind=kind.value)
        newest = summary.newest.timestamp() if summary.newest else 0
        yield metrics.EVENT_NEWEST(newest, kind=kind.value)


def _forward_measurements(conn: Connection) -> Iterator[Measurement]:
    """Yields the champion's last forward test, and how often promises were kept."""
    tests = [one.test for one in ledger.forward_tests(conn)]
    last = next((test for test in tests if test.was_champion), None)
    if last is None:
        return
    yield metrics.FORWARD_RATINGS(last.ratings)
    yield metrics.FORWARD_DECAYED(len(last.decays))
    for name, found in last.metrics.items():
        yield metrics.FORWARD_REALIZED(found.value, metric=name)
        if found.promised is not None:
            yield metrics.FORWARD_PROMISED(found.promised, metric=name)
    for name, (kept, of) in coverage(tests).items():
        yield metrics.FORWARD_COVERAGE(kept / of, metric=name)


def _champion_measurements(champion: Release) -> Iterator[Measurement]:
    if champion.promoted_at is not None:
        yield metrics.CHAMPION_PROMOTED(champion.promoted_at.timestamp())
    for metric, value in champion.scores.values().items():
        yield metrics.CHAMPION_QUALITY(value, metric=metric)
