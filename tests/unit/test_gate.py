"""The gate's rules one by one, and the laws that hold for all metrics."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.gate import Decision, judge
from recsys.settings import GateSettings

Metrics = dict[str, Any]
law = hypothesis_settings(deadline=None)  # a loaded machine is no failure
SETTINGS = GateSettings(
    min_rmse_gain=0.1, min_ndcg_ratio=1.2, min_coverage=0.05, max_rmse_rise=0.1, max_ndcg_drop=0.2
)
GOOD: Metrics = {
    "model": {
        "rmse": 0.85,
        "mae": 0.65,
        "ndcg@10": 0.15,
        "recall@10": 0.09,
        "recall@20": 0.15,
        "mrr": 0.3,
        "coverage": 0.2,
    },
    "baselines": {
        "global_mean": {"rmse": 1.07, "mae": 0.84},
        "movie_mean": {"rmse": 1.0, "mae": 0.79},
        "bias": {"rmse": 0.9, "mae": 0.69},
        "popularity": {
            "ndcg@10": 0.1,
            "recall@10": 0.04,
            "recall@20": 0.07,
            "mrr": 0.2,
            "coverage": 0.01,
        },
    },
    "holdout": {"rows": 9818, "users": 610},
}
PATHS = [
    *(("model", name) for name in GOOD["model"]),
    *(
        ("baselines", baseline, name)
        for baseline, metrics in GOOD["baselines"].items()
        for name in metrics
    ),
]


def put(metrics: Metrics, path: tuple[str, ...], value: object) -> Metrics:
    changed = copy.deepcopy(metrics)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


def test_the_first_release_is_judged_without_champion_rules() -> None:
    decision = judge(GOOD, None, SETTINGS)

    assert decision.accepted
    assert {rule.name for rule in decision.rules} == {
        "metrics_are_numbers",
        "rmse_against_movie_mean",
        "rmse_against_bias",
        "ndcg_against_popularity",
        "coverage_floor",
    }


@pytest.mark.parametrize(
    ("path", "passing", "failing", "rule"),
    [
        (("model", "rmse"), 0.9, 0.901, "rmse_against_movie_mean"),
        (("model", "ndcg@10"), 0.12, 0.119, "ndcg_against_popularity"),
        (("model", "coverage"), 0.05, 0.049, "coverage_floor"),
    ],
)
def test_each_floor_is_met_at_its_limit_and_missed_beyond(
    path: tuple[str, ...], passing: float, failing: float, rule: str
) -> None:
    assert judge(put(GOOD, path, passing), None, SETTINGS).accepted

    decision = judge(put(GOOD, path, failing), None, SETTINGS)
    assert not decision.accepted
    assert rule in failed(decision)
    assert f"found {failing:.4f}" in decision.reason


def test_an_rmse_above_the_bias_baseline_is_shown_but_does_not_reject() -> None:
    decision = judge(put(GOOD, ("baselines", "bias", "rmse"), 0.8), None, SETTINGS)

    assert decision.accepted
    assert failed(decision) == {"rmse_against_bias"}


@pytest.mark.parametrize(
    ("path", "passing", "failing", "rule"),
    [
        (("model", "rmse"), 0.77, 0.78, "rmse_against_champion"),
        (("model", "ndcg@10"), 0.24, 0.239, "ndcg_against_champion"),
    ],
)
def test_a_candidate_may_be_only_so_much_worse_than_the_champion(
    path: tuple[str, ...], passing: float, failing: float, rule: str
) -> None:
    champion = put(put(GOOD, ("model", "rmse"), 0.70001), ("model", "ndcg@10"), 0.29999)
    good = put(put(GOOD, ("model", "rmse"), 0.70001), ("model", "ndcg@10"), 0.29999)

    assert judge(put(good, path, passing), champion, SETTINGS).accepted
    assert failed(judge(put(good, path, failing), champion, SETTINGS)) == {rule}


def test_the_champion_is_compared_by_skill_because_holdouts_differ_in_difficulty() -> None:
    easier = copy.deepcopy(GOOD)
    easier["model"] |= {"rmse": 0.85 / 2, "ndcg@10": 0.15 * 2}
    easier["baselines"]["movie_mean"]["rmse"] /= 2
    easier["baselines"]["popularity"]["ndcg@10"] *= 2

    assert judge(GOOD, easier, SETTINGS).accepted
    assert judge(easier, GOOD, SETTINGS).accepted


def test_the_same_metrics_pass_against_themselves_without_any_slack() -> None:
    strict = SETTINGS.model_copy(update={"max_rmse_rise": 0.0, "max_ndcg_drop": 0.0})
    assert judge(GOOD, GOOD, strict).accepted


@pytest.mark.parametrize("path", PATHS, ids=".".join)
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, None, "0.5", True])
def test_a_metric_that_is_no_number_rejects_and_is_named(
    path: tuple[str, ...], value: object
) -> None:
    decision = judge(put(GOOD, path, value), GOOD, SETTINGS)

    assert not decision.accepted
    assert ".".join(path) in decision.reason
    assert "metrics_are_numbers" in failed(decision)


@pytest.mark.parametrize("metrics", [{}, {"model": None}, {"model": 3, "baselines": []}])
def test_metrics_of_a_wrong_shape_reject(metrics: Metrics) -> None:
    decision = judge(metrics, None, SETTINGS)

    assert not decision.accepted
    assert len(failed(decision)) == len(decision.rules)


@pytest.mark.parametrize(
    "path",
    [
        ("model", "rmse"),
        ("model", "ndcg@10"),
        ("baselines", "movie_mean", "rmse"),
        ("baselines", "popularity", "ndcg@10"),
    ],
)
@pytest.mark.parametrize("value", [math.nan, None])
def test_a_champion_without_numbers_rejects_the_candidate(
    path: tuple[str, ...], value: object
) -> None:
    decision = judge(GOOD, put(GOOD, path, value), SETTINGS)

    assert not decision.accepted
    assert "cannot be judged" in decision.reason


@pytest.mark.parametrize(
    "path", [("baselines", "movie_mean", "rmse"), ("baselines", "popularity", "ndcg@10")]
)
def test_a_champion_whose_baseline_is_zero_cannot_be_compared_with(path: tuple[str, ...]) -> None:
    assert not judge(GOOD, put(GOOD, path, 0.0), SETTINGS).accepted


shares = st.floats(0, 1)
errors = st.floats(0, 5)


@st.composite
def metrics(draw: st.DrawFn) -> Metrics:
    drawn = copy.deepcopy(GOOD)
    for path in PATHS:
        kind = errors if path[-1] in {"rmse", "mae"} else shares
        # Values near the good ones make both decisions common.
        drawn = put(drawn, path, draw(st.one_of(st.just(_value(GOOD, path)), kind)))
    return drawn


def _value(metrics: Metrics, path: tuple[str, ...]) -> float:
    value: Any = metrics
    for name in path:
        value = value[name]
    return float(value)


settings = st.builds(
    GateSettings,
    min_rmse_gain=st.floats(-0.5, 0.5),
    min_ndcg_ratio=st.floats(0, 3),
    min_coverage=shares,
    max_rmse_rise=st.floats(0, 1),
    max_ndcg_drop=st.floats(0, 1),
)


@law
@given(metrics(), st.none() | metrics(), settings, st.sampled_from(PATHS[:7]), st.data())
def test_making_a_metric_worse_never_turns_a_reject_into_an_accept(
    candidate: Metrics,
    champion: Metrics | None,
    settings: GateSettings,
    path: tuple[str, ...],
    data: st.DataObject,
) -> None:
    found = _value(candidate, path)
    worse = st.floats(found, 10) if path[-1] in {"rmse", "mae"} else st.floats(0, found)
    value = data.draw(st.one_of(worse, st.sampled_from([math.nan, math.inf, -1.0])))

    before = judge(candidate, champion, settings)
    after = judge(put(candidate, path, value), champion, settings)

    assert before.accepted or not after.accepted
    assert failed(before) <= failed(after)


@law
@given(metrics(), metrics(), settings)
def test_a_champion_only_ever_adds_reasons_to_reject(
    candidate: Metrics, champion: Metrics, settings: GateSettings
) -> None:
    assert failed(judge(candidate, None, settings)) <= failed(judge(candidate, champion, settings))


@law
@given(metrics(), st.none() | metrics(), settings)
def test_a_decision_survives_being_stored(
    candidate: Metrics, champion: Metrics | None, settings: GateSettings
) -> None:
    decision = judge(candidate, champion, settings)

    assert Decision.from_json(decision.to_json()) == decision
    assert decision.accepted == all(r.passed for r in decision.rules if r.binding)


def test_a_decision_about_metrics_that_are_no_numbers_survives_being_stored() -> None:
    decision = judge(put(GOOD, ("model", "rmse"), math.nan), GOOD, SETTINGS)
    assert Decision.from_json(decision.to_json()) == decision
