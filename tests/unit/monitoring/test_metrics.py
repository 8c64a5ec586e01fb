"""Measurements of results have the tags of their metrics."""

from __future__ import annotations

import pytest

from recsys import monitoring
from recsys.gate import GateSettings, judge
from recsys.monitoring import MetricType, SwitchTimer, metrics
from recsys.monitoring.metrics import METRICS
from tests.metrics_maker import GOOD, as_judged


def test_metric_names_are_unique_and_have_the_prefix():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)) == len({m.prometheus for m in METRICS}) > 15
    assert all(name.startswith("recsys.") for name in names)


@pytest.mark.parametrize("tags", [{}, {"verdict": "new", "more": "x"}, {"other": "x"}])
def test_a_measurement_with_wrong_tags_is_refused(tags):
    with pytest.raises(ValueError, match="expected"):
        metrics.BUILDS(1, **tags)


def test_prometheus_names_have_the_suffix_of_their_type():
    assert metrics.BUILDS.prometheus == "recsys_builds_total"
    assert metrics.PROMOTION_STALL.prometheus == "recsys_promotion_stall_seconds"
    assert metrics.RELEASES.prometheus == "recsys_releases"
    assert {metric.type for metric in METRICS} == set(MetricType)


def test_a_decision_is_counted_with_every_binding_rule_that_failed():
    accepted = list(monitoring.decision_measurements(judge(as_judged(GOOD), None, GateSettings())))
    assert [(m.metric, m.tags) for m in accepted] == [
        (metrics.GATE_DECISIONS, {"decision": "accept"})
    ]
    decision = judge(as_judged({}), None, GateSettings())
    rejected = list(monitoring.decision_measurements(decision))
    assert rejected[0].tags == {"decision": "reject"}
    failed = [rule.name for rule in decision.rules if rule.binding and not rule.passed]
    assert [m.tags["rule"] for m in rejected[1:]] == failed
    assert failed


def test_a_promotion_that_changes_nothing_has_no_durations():
    timer = SwitchTimer()
    for step in ("lock taken", "recovery begun"):
        timer(step)
    assert list(timer.measurements()) == []


def test_the_stall_is_part_of_the_promotion():
    timer = SwitchTimer()
    for step in ("lock taken", "journal opened", "model copied", "switched", "pointer written"):
        timer(step)
    stall, whole = timer.measurements()
    assert stall.metric is metrics.PROMOTION_STALL
    assert whole.metric is metrics.PROMOTION_DURATION
    assert 0 <= stall.value <= whole.value
