"""Results become measurements with the tags that were promised."""

from __future__ import annotations

import pytest

from recsys import monitoring
from recsys.gate import GateSettings, judge
from recsys.monitoring import MetricType, SwitchTimer, metrics
from recsys.monitoring.metrics import METRICS
from tests.metrics_maker import GOOD


def test_every_metric_has_a_name_of_its_own_below_the_prefix():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)) == len({m.prometheus for m in METRICS}) > 15
    assert all(name.startswith(metrics.PREFIX) for name in names)


@pytest.mark.parametrize("tags", [{}, {"verdict": "new", "more": "x"}, {"other": "x"}])
def test_a_measurement_with_other_tags_than_its_metrics_is_refused(tags):
    with pytest.raises(ValueError, match="expected"):
        metrics.BUILDS(1, **tags)


def test_prometheus_names_say_what_kind_a_metric_is():
    assert metrics.BUILDS.prometheus == "recsys_builds_total"
    assert metrics.PROMOTION_STALL.prometheus == "recsys_promotion_stall_seconds"
    assert metrics.RELEASES.prometheus == "recsys_releases"
    assert {metric.type for metric in METRICS} == set(MetricType)


def test_a_decision_counts_itself_and_every_binding_rule_that_failed():
    accepted = list(monitoring.decision_measurements(judge(GOOD, None, GateSettings())))
    assert [(m.metric, m.tags) for m in accepted] == [
        (metrics.GATE_DECISIONS, {"decision": "accept"})
    ]
    decision = judge({}, None, GateSettings())
    rejected = list(monitoring.decision_measurements(decision))
    assert rejected[0].tags == {"decision": "reject"}
    failed = [rule.name for rule in decision.rules if rule.binding and not rule.passed]
    assert [m.tags["rule"] for m in rejected[1:]] == failed
    assert failed


def test_a_promotion_that_switched_nothing_has_no_times():
    times = SwitchTimer()
    for step in ("lock taken", "recovery begun"):
        times(step)
    assert list(times.measurements()) == []


def test_the_stall_is_a_part_of_the_whole_promotion():
    times = SwitchTimer()
    for step in ("lock taken", "journal opened", "model copied", "switched", "pointer written"):
        times(step)
    stall, whole = times.measurements()
    assert stall.metric is metrics.PROMOTION_STALL
    assert whole.metric is metrics.PROMOTION_DURATION
    assert 0 <= stall.value <= whole.value
