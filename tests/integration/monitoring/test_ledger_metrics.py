"""Metrics of the ledger against a real server."""

from __future__ import annotations

import math
import time

import pytest
from pydantic import SecretStr

from recsys import ledger
from recsys.alerts.settings import AlertKind
from recsys.database import PostgresSettings
from recsys.ledger import State
from recsys.monitoring import SwitchTimer, measure_ledger, metrics
from recsys.monitoring.metrics import Metric
from recsys.releases import promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases


@pytest.fixture
def services(postgres_dsn, s3_settings) -> Services:
    return Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)


def values(services: Services, metric: Metric) -> dict[str, float]:
    """Returns the values of a metric by its only tag; the key is ``""`` if it has none."""
    return {
        next(iter(m.tags.values()), ""): m.value
        for m in measure_ledger(services)
        if m.metric is metric
    }


def test_a_database_without_a_ledger_is_measured_with_zeros(services):
    """Otherwise PipelineSilent fires from the installation to the first run."""
    assert values(services, metrics.MEASURED)[""] == pytest.approx(time.time(), abs=60)
    for metric in (metrics.JOURNAL_AGE, metrics.RELEASES, metrics.EVENTS, metrics.EVENT_NEWEST):
        assert set(values(services, metric).values()) == {0}
    empty = {(m.metric.name, *m.tags.values()) for m in measure_ledger(services)}
    with services.connect() as conn:
        ledger.prepare(conn)
    assert {(m.metric.name, *m.tags.values()) for m in measure_ledger(services)} == empty


def test_a_new_ledger_has_zeros_and_no_champion(services):
    with services.connect() as conn:
        ledger.prepare(conn)
    assert set(values(services, metrics.RELEASES).values()) == {0}
    assert set(values(services, metrics.RELEASES)) == {state.value for state in State}
    assert set(values(services, metrics.EVENTS).values()) == {0}
    assert set(values(services, metrics.EVENTS)) == {k.value for k in AlertKind} - {AlertKind.STALE}
    assert values(services, metrics.JOURNAL_AGE) == {"": 0}
    for absent in (metrics.CHAMPION_PROMOTED, metrics.LAST_SUCCESS):
        assert values(services, absent) == {}


def test_promotions_rollbacks_and_rejections_are_counted(services):
    releases = Releases(services)
    for number in (1, 2):
        promote_release(services, releases.candidate(number), actor=an_actor())
    roll_back(services, actor=an_actor())
    with services.connect() as conn:
        ledger.move(conn, releases.candidate(3), State.REJECTED, actor=an_actor())
        champion = ledger.champion(conn)
    events = values(services, metrics.EVENTS)
    # The rollback promoted a release, too.
    assert events["promoted"] == 3
    assert events["rolled_back"] == events["rejected"] == 1
    newest = values(services, metrics.EVENT_NEWEST)
    assert newest["promoted"] == pytest.approx(champion.promoted_at.timestamp(), abs=1)
    assert newest["rejected"] >= newest["rolled_back"] > 0
    assert newest["run_failed"] == 0
    states = values(services, metrics.RELEASES)
    assert states["champion"] == states["rolled_back"] == states["rejected"] == 1
    assert values(services, metrics.CHAMPION_PROMOTED)[""] == champion.promoted_at.timestamp()
    quality = values(services, metrics.CHAMPION_QUALITY)
    assert {"rmse", "ndcg@10"} <= set(quality)
    assert all(map(math.isfinite, quality.values()))


def test_the_age_of_an_open_journal_is_measured(services):
    release_id = Releases(services).candidate(1)
    with services.connect() as conn:
        conn.execute(
            "insert into recsys.journal (kind, to_release, actor, reason, opened_at) "
            "values ('promotion', %s, 't', 't', now() - interval '1 hour')",
            (release_id,),
        )
    assert 3600 <= values(services, metrics.JOURNAL_AGE)[""] < 3700


def test_a_promotion_yields_durations_and_one_that_changes_nothing_yields_none(services):
    release_id = Releases(services).candidate(1)
    for expected in (2, 0):
        timer = SwitchTimer()
        promote_release(services, release_id, actor=an_actor(), trace=timer)
        assert len(list(timer.measurements())) == expected
