"""What is true of every decision, whatever the metrics."""

from __future__ import annotations

import copy
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recsys.gate import Decision, GateSettings, override_decision
from tests.judging import (
    INVALID_NUMBERS,
    PATHS,
    SETTINGS,
    TOO_GOOD,
    failed,
    judge,
    law,
    served,
)
from tests.metrics_maker import (
    GOOD,
    Metrics,
    inner,
    put,
    scored,
    with_ndcg,
    with_rmse,
)

shares = st.floats(0, 1)
errors = st.floats(0.3, 3)


@st.composite
def candidates(draw: st.DrawFn) -> Metrics:
    """Consistent metrics; many are good, so that both decisions are common."""
    drawn = copy.deepcopy(GOOD)
    for path in PATHS:
        # Metrics with intervals are changed below, with their intervals.
        if path[-1] in {"rmse", "ndcg@10"}:
            continue
        kind = errors if path[-1] == "mae" else shares
        drawn = put(drawn, path, draw(st.just(inner(GOOD, *path)) | kind))
    drawn = with_rmse(drawn, draw(st.just(0.85) | errors))
    drawn = with_ndcg(drawn, draw(st.just(0.15) | shares))
    for name in ("few", "many"):
        part = drawn["slices"]["user_activity"][name]
        part |= {"rmse": draw(st.just(0.86) | errors), "ndcg@10": draw(st.just(0.14) | shares)}
        part |= {"rows": draw(st.sampled_from([10, 4909])), "users": draw(st.integers(1, 300))}
    if draw(st.booleans()):
        drawn = scored(drawn)
        drawn["champion"]["candidate"] |= {"rmse": draw(errors), "ndcg@10": draw(shares)}
    return drawn


settings = st.builds(
    GateSettings,
    max_rmse_over_bias=st.floats(-0.5, 0.5),
    min_ndcg_over_popularity=st.floats(-0.5, 0.5),
    min_coverage=shares,
    max_rmse_rise=st.floats(0, 1),
    max_ndcg_drop=st.floats(0, 1),
    max_slice_rmse_rise=st.floats(0, 1),
    max_slice_ndcg_drop=st.floats(0, 1),
)


def worsen(metrics: Metrics, what: str, by: float) -> Metrics:
    """Returns a copy in which one metric is worse, with consistent intervals."""
    changed = copy.deepcopy(metrics)
    if what == "rmse":
        return with_rmse(changed, changed["model"]["rmse"] + by)
    if what == "ndcg":
        return with_ndcg(changed, changed["model"]["ndcg@10"] * (1 - by))
    if what == "coverage":
        changed["model"]["coverage"] *= 1 - by
    elif what == "slice":
        part = changed["slices"]["user_activity"]["few"]
        part["rmse"] += by
        part["ndcg@10"] *= 1 - by
    elif changed["champion"]:
        changed["champion"]["candidate"]["rmse"] += by
        changed["champion"]["candidate"]["ndcg@10"] *= 1 - by
    return changed


@law
@given(
    candidates(),
    st.none() | candidates(),
    settings,
    st.sampled_from(["rmse", "ndcg", "coverage", "slice", "against the champion"]),
    shares,
)
def test_worse_metrics_never_turn_a_reject_into_an_accept(
    candidate: Metrics, champion: Metrics | None, settings: GateSettings, what: str, by: float
) -> None:
    before = judge(candidate, champion, settings)
    after = judge(worsen(candidate, what, by), champion, settings)

    # Only the rules against leaks may pass because a metric got worse.
    assert failed(before) - TOO_GOOD <= failed(after)
    assert before.accepted or not after.accepted or failed(before) <= TOO_GOOD


@law
@given(candidates(), st.none() | candidates(), settings, st.sampled_from(PATHS[:7]), st.data())
def test_metrics_with_an_invalid_value_are_never_accepted(
    candidate: Metrics,
    champion: Metrics | None,
    settings: GateSettings,
    path: tuple[str, ...],
    data: st.DataObject,
) -> None:
    value = data.draw(st.sampled_from(INVALID_NUMBERS))

    assert not judge(put(candidate, path, value), champion, settings).accepted


@law
@given(candidates(), candidates(), settings)
def test_a_champion_only_adds_failures(
    candidate: Metrics, champion: Metrics, settings: GateSettings
) -> None:
    candidate["champion"] = None
    assert failed(judge(candidate, None, settings)) <= failed(judge(candidate, champion, settings))


@law
@given(candidates(), st.none() | candidates(), settings)
def test_a_decision_survives_a_round_trip(
    candidate: Metrics, champion: Metrics | None, settings: GateSettings
) -> None:
    decision = judge(candidate, champion, settings)

    assert Decision.from_json(decision.to_json()) == decision
    assert decision.accepted == all(r.passed for r in decision.rules if r.binding)


@law
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inside: (
            st.lists(inside, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, *GOOD["model"], "few"]), inside, max_size=4)
        ),
        max_leaves=12,
    ),
    st.sampled_from([*GOOD, "serving", "movie_vectors", "contents", "release_id"]),
)
def test_every_document_gets_a_decision(value: Any, key: str) -> None:
    decision = judge(served(GOOD) | {key: value}, served(scored(GOOD)), SETTINGS)

    assert Decision.from_json(decision.to_json()) == decision


def test_a_decision_on_invalid_metrics_survives_a_round_trip() -> None:
    decision = judge(put(GOOD, ("model", "rmse"), math.nan), GOOD, SETTINGS)
    assert Decision.from_json(decision.to_json()) == decision


def test_an_override_accepts_and_keeps_the_results_of_the_rules() -> None:
    found = judge(with_rmse(GOOD, 2.0), None, SETTINGS)

    decision = override_decision(found, actor="Ada", reason="a known defect of the holdout")

    assert decision.accepted
    assert decision.rules == found.rules
    assert decision.override is not None
    assert (decision.override.actor, decision.override.found) == ("Ada", found.reason)
    assert Decision.from_json(decision.to_json()) == decision


def test_a_decision_stored_before_overrides_existed_is_read() -> None:
    text = '{"accepted": true, "rules": [], "reason": "every binding rule passed"}'
    assert Decision.from_json(text).override is None


def test_drift_is_shown_but_not_binding() -> None:
    decision = judge(served(GOOD, drift={"psi_ratings": 0.1, "psi_genres": 9.0}), None, SETTINGS)

    assert decision.accepted
    assert failed(decision) == {"drift"}
    [rule] = [rule for rule in decision.rules if rule.name == "drift"]
    assert (rule.value, rule.binding) == (9.0, False)
    assert "psi_genres" in rule.reason
