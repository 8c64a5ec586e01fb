"""What a chain of promotions may lose since the best of them."""

from __future__ import annotations

import math

import pytest

from recsys import gate
from recsys.gate import Decision, Memory, PastPromotion, override_decision
from tests.decline_simulation import (
    CHAMPION_ID,
    SETTINGS,
    WITHOUT_MEMORY,
    Chain,
    candidate_metrics,
    longest_chain,
)
from tests.metrics_maker import GOOD, as_judged, with_rmse

BEST_RULES = {
    "rmse_against_best",
    "rmse_surely_above_best",
    "ndcg_against_best",
    "ndcg_surely_below_best",
}
NOISE = (0.002, 0.06)
"""Relative standard errors of RMSE and NDCG@10 between valid models of ml-latest-small."""


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


@pytest.mark.parametrize("error", [(0.0, 0.0), NOISE])
def test_declines_of_half_a_percent_of_rmse_end_after_three(error: tuple[float, float]) -> None:
    old, _ = longest_chain(WITHOUT_MEMORY, rmse=1.005, error=error, most=20)
    new, chain = longest_chain(SETTINGS, rmse=1.005, error=error)

    assert old == 20  # without memory, nothing that compares with the champion ends it
    assert 1 <= new <= 3
    assert chain.level["rmse"] <= 1 + SETTINGS.max_summed_rmse_rise


def test_declines_by_ndcg_alone_end_after_three() -> None:
    assert longest_chain(WITHOUT_MEMORY, ndcg=0.951, most=20)[0] == 20
    new, chain = longest_chain(SETTINGS, ndcg=0.951)

    assert 1 <= new <= 3
    assert chain.level["ndcg@10"] >= 1 - SETTINGS.max_sure_summed_ndcg_drop


@pytest.mark.parametrize("decline", [{"rmse": 1.002}, {"rmse": 1.004}, {"ndcg": 0.97}])
@pytest.mark.parametrize("error", [(0.0, 0.0), NOISE, (1.0, 1.0)])
def test_no_chain_within_the_memory_loses_more_than_the_sum_whatever_its_intervals(
    decline: dict[str, float], error: tuple[float, float]
) -> None:
    accepted, chain = longest_chain(SETTINGS, **decline, error=error, most=30)

    assert accepted < SETTINGS.memory_releases
    assert chain.level["rmse"] <= 1 + SETTINGS.max_summed_rmse_rise
    assert chain.level["ndcg@10"] >= 1 - SETTINGS.max_summed_ndcg_drop


def test_each_reason_names_the_best_release_and_where_the_memory_ends() -> None:
    chain = Chain.start(SETTINGS)
    assert chain.offer(rmse=0.99).accepted  # release-1 is the best
    assert chain.offer(rmse=1.004).accepted
    assert chain.offer(rmse=1.004).accepted

    decision = chain.offer(rmse=1.004)

    assert failed(decision) == {"rmse_surely_above_best"}
    assert "rise of the RMSE since release-1, the best of 3 earlier releases" in decision.reason
    assert "release-0 became champion anew: there was no champion" in decision.reason
    assert decision.memory is not None
    assert decision.memory.begins_with == "release-0"


def test_a_candidate_that_is_no_worse_than_the_champion_passes_whatever_was_lost() -> None:
    chain = Chain.start(SETTINGS)
    chain.past.insert(0, PastPromotion("bad", "release-0", memory_of(0.05)))

    decision = chain.offer(rmse=0.999)

    assert decision.accepted
    [rule] = [rule for rule in decision.rules if rule.name == "rmse_against_best"]
    assert "passes because the champion is no better" in rule.reason
    assert not chain.offer(rmse=1.001).accepted


@pytest.mark.parametrize(
    "promotion",
    [
        PastPromotion("other", "release-0", None),
        PastPromotion("other", "release-0", Memory(starts_anew="the dataset gives ids to others")),
        PastPromotion("other", "release-0", None, "override by Ada"),
        PastPromotion("other", "release-0", Memory(), "rolled back by Ada"),
    ],
)
def test_a_persons_act_and_another_dataset_start_anew(promotion: PastPromotion) -> None:
    chain = Chain.start(SETTINGS)
    while chain.offer(rmse=1.004).accepted:
        pass
    chain.past.insert(0, promotion)

    decision = chain.offer(rmse=1.004)

    assert decision.accepted
    assert decision.memory is not None
    assert decision.memory.compared == 0
    assert "other became champion anew" in decision.memory.because


def test_changed_ids_are_recorded_and_compare_with_no_earlier_release() -> None:
    chain = Chain.start(SETTINGS)
    while chain.offer(rmse=1.004).accepted:
        pass
    metrics = candidate_metrics(1.0, 1.0, (0.0, 0.0)) | {"drift": {"changed_pairs": 0.9}}

    champion = as_judged(GOOD | {"release_id": CHAMPION_ID})
    decision = gate.judge(as_judged(metrics), champion, SETTINGS, chain.past)

    assert decision.accepted
    assert decision.memory == Memory(
        starts_anew="the dataset gives ids to others", because="the dataset gives ids to others"
    )


def test_a_champion_that_was_not_evaluated_on_the_holdout_is_remembered_by_skill() -> None:
    worse = with_rmse(GOOD, 0.85 * 1.009)
    past = [PastPromotion("a", "b", memory_of(0.009)), PastPromotion("b", None, memory_of(0.0))]

    decision = gate.judge(as_judged(worse), as_judged(GOOD), SETTINGS, past)

    assert "rmse_against_best" not in failed(decision)
    assert decision.memory is not None
    assert decision.memory.rmse is not None
    assert decision.memory.rmse.log == pytest.approx(math.log(1.009))
    assert decision.memory.rmse.error > 0.005  # each holdout's own uncertainty
    past.insert(0, PastPromotion("c", "a", memory_of(0.009)))
    assert "rmse_against_best" in failed(
        gate.judge(as_judged(worse), as_judged(GOOD), SETTINGS, past)
    )


def test_a_memory_of_no_releases_is_off() -> None:
    _, chain = longest_chain(WITHOUT_MEMORY, rmse=1.005, most=5)

    decision = chain.offer(rmse=1.005)

    assert not BEST_RULES & {rule.name for rule in decision.rules}


def test_a_decision_of_earlier_code_is_read_and_the_memory_is_stored() -> None:
    decision = Chain.start(SETTINGS).offer(rmse=1.004)
    assert Decision.from_json(decision.to_json()) == decision

    earlier = decision.model_dump(mode="json")
    del earlier["memory"]
    assert Decision.model_validate(earlier).memory is None
    assert override_decision(decision, actor="Ada", reason="r").memory is None


def memory_of(log: float) -> Memory:
    same = gate.Loss(log=0.0, error=0.0)
    return Memory(rmse=gate.Loss(log=log, error=0.0), ndcg=same)
