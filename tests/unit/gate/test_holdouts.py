"""The gate's rules on the time holdout, the last visit, vanished ids, coverage and slices."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys import gate
from recsys.gate import Decision, GateSettings
from tests.metrics_maker import CHAMPION, GOOD, Metrics, as_judged, put, scored

SETTINGS = GateSettings()
CHAMPION_ID = {"release_id": CHAMPION["release_id"]}
law = hypothesis_settings(deadline=None, max_examples=50)


def judge(candidate: Metrics, champion: Metrics | None = None) -> Decision:
    return gate.judge(
        as_judged(candidate), as_judged(champion) if champion is not None else None, SETTINGS
    )


def failed(decision: Decision) -> set[str]:
    return {rule.name for rule in decision.rules if not rule.passed}


def reason(decision: Decision, name: str) -> str:
    (found,) = [rule.reason for rule in decision.rules if rule.name == name]
    return found


def part(warm: int, **differences: list[float]) -> Metrics:
    """Metrics on another holdout, a good one unless ``differences`` say otherwise."""
    names = {"rmse": "rmse - ", "ndcg": "ndcg@10 - "}
    given = {
        names[key.partition("_")[0]] + key.partition("_")[2]: value
        for key, value in differences.items()
    }
    return {
        "moment": 1_519_171_200,
        "holdout": {"rows": 4838, "users": 450, "ranked_users": warm},
        "model": {"rmse": 0.95, "ndcg@10": 0.15},
        "baselines": {"bias": {"rmse": 0.97}, "popularity": {"ndcg@10": 0.1}},
        "slices": {},
        "confidence": {
            "level": 0.95,
            "differences": {
                "rmse - bias": [-0.04, 0.0],
                "ndcg@10 - popularity": [0.01, 0.1],
                "rmse - champion": [-0.02, 0.01],
                "ndcg@10 - champion": [-0.02, 0.01],
                **given,
            },
        },
        "champion": {
            **CHAMPION_ID,
            **{"rows": 4000, "users": 400, "ranked_users": warm, "rmse": 0.95, "ndcg@10": 0.15},
            "candidate": {"rmse": 0.95, "ndcg@10": 0.15},
        },
    }


@pytest.mark.parametrize(
    ("difference", "ends", "rule"),
    [
        ("rmse_bias", [0.01, 0.05], "time_rmse_against_bias"),
        ("ndcg_popularity", [-0.1, -0.01], "time_ndcg_against_popularity"),
        ("rmse_champion", [0.01, 0.05], "time_rmse_against_champion"),
        ("ndcg_champion", [-0.1, -0.01], "time_ndcg_against_champion"),
    ],
)
def test_what_is_surely_worse_in_time_is_rejected_if_enough_users_were_known(
    difference: str, ends: list[float], rule: str
) -> None:
    champion = GOOD | CHAMPION_ID
    good = scored(GOOD) | {"time_holdout": part(100)}
    assert judge(good, champion).accepted

    worse = judge(good | {"time_holdout": part(100, **{difference: ends})}, champion)
    assert failed(worse) == {rule}
    assert not worse.accepted

    few = judge(good | {"time_holdout": part(99, **{difference: ends})}, champion)
    assert failed(few) == {rule}
    assert few.accepted, "shown, not binding"
    assert "not binding: fewer than 100 users were known before" in reason(few, rule)
    assert "from 2018-02-21 on" in reason(few, rule)


def test_a_champion_with_few_users_in_the_time_holdout_does_not_bind() -> None:
    metrics = part(100, rmse_champion=[0.02, 0.05])
    metrics["champion"]["ranked_users"] = 7
    decision = judge(scored(GOOD) | {"time_holdout": metrics}, GOOD | CHAMPION_ID)
    assert decision.accepted
    assert "7 of them are the champion's" in reason(decision, "time_rmse_against_champion")


@pytest.mark.parametrize("broken", ["text", 7, {"holdout": {"ranked_users": 500}}, [1]])
def test_a_broken_time_holdout_never_helps(broken: object) -> None:
    decision = judge(scored(GOOD) | {"time_holdout": broken}, GOOD | CHAMPION_ID)
    enough = isinstance(broken, dict)
    assert decision.accepted != enough, "with enough users, missing numbers reject"


@pytest.mark.parametrize("moment", [-(10**30), -1, 2**40, 10**400, 1e300, "x", None])
def test_an_impossible_moment_is_only_not_shown(moment: object) -> None:
    metrics = scored(GOOD) | {"time_holdout": part(99) | {"moment": moment}}
    text = reason(judge(metrics, GOOD | CHAMPION_ID), "time_rmse_against_bias")
    assert "450 users, 99 of them known before" in text


def test_metrics_of_older_trainers_are_judged_without_these_holdouts() -> None:
    decision = judge(scored(GOOD), GOOD | CHAMPION_ID)
    assert decision.accepted
    assert not any(rule.name.startswith(("time_", "last_visit")) for rule in decision.rules)


def test_the_last_visit_is_shown_and_never_binding() -> None:
    bad = part(500, ndcg_popularity=[-0.2, -0.1], ndcg_champion=[-0.2, -0.1])
    decision = judge(scored(GOOD) | {"last_visit": bad}, GOOD | CHAMPION_ID)
    assert decision.accepted
    assert failed(decision) == {
        "last_visit_ndcg_against_popularity",
        "last_visit_ndcg_against_champion",
    }


def test_coverage_is_compared_with_popularitys() -> None:
    # Of a large catalog an honest model recommends a small share, and popularity a tiny one.
    small = put(GOOD, ("model", "coverage"), 0.0148)
    assert judge(put(small, ("baselines", "popularity", "coverage"), 0.002)).accepted
    disguised = put(GOOD, ("model", "coverage"), 0.0113)
    decision = judge(put(disguised, ("baselines", "popularity", "coverage"), 0.0113))
    assert failed(decision) == {"coverage_floor"}
    assert "1.5 times popularity's" in decision.reason
    # Of a catalog of 120 generated movies popularity covers 44 %, item-kNN 60 %: 1.36 times.
    tiny = put(GOOD, ("baselines", "popularity", "coverage"), 0.442)
    assert judge(put(tiny, ("model", "coverage"), 0.6)).accepted
    assert failed(judge(put(tiny, ("model", "coverage"), 0.5))) == {"coverage_floor"}
    whole = put(GOOD, ("baselines", "popularity", "coverage"), 1.0)
    assert judge(put(whole, ("model", "coverage"), 1.0)).accepted
    off = GateSettings(min_coverage_over_popularity=0)
    assert gate.judge(as_judged(put(whole, ("model", "coverage"), 0.0)), None, off).accepted


@pytest.mark.parametrize("name", ["vanished_users", "vanished_movies"])
def test_vanished_users_and_movies_are_rejected(name: str) -> None:
    champion = GOOD | CHAMPION_ID
    assert judge(scored(GOOD) | {"drift": {name: 0.2}}, champion).accepted
    decision = judge(scored(GOOD) | {"drift": {name: 0.21}}, champion)
    assert failed(decision) == {name}
    assert not decision.accepted


def test_lost_ratings_are_rejected_unless_the_ids_changed_or_a_person_accepts() -> None:
    """A publisher whose dumps lack more of the newest ratings each time, as ADR 25 measured it."""
    champion = GOOD | CHAMPION_ID

    def of(share: float, **more: object) -> Decision:
        return judge(scored(GOOD) | {"drift": {"changed_pairs": share}} | more, champion)

    assert of(0.05).accepted
    decision = of(0.051)
    assert failed(decision) == {"vanished_ratings"}
    assert "ratings, by users and of movies that are still there" in decision.reason
    assert of(0.051, drift_accepted=True).accepted
    assert "vanished_ratings" not in {rule.name for rule in of(0.51).rules}, "ids changed"


def sliced(ndcg: float, error: float | None, parts: int = 1) -> Metrics:
    """A slice with this NDCG@10 beside popularity's 0.1, among equally good ones."""
    metrics = copy.deepcopy(GOOD)
    few = metrics["slices"]["user_activity"]["few"]
    errors: dict[str, Any] = {"rmse / bias": 0.01, "ndcg@10 / popularity": error}
    metrics["slices"]["user_activity"] = {
        "few": few | {"ndcg@10": ndcg, "standard_errors": errors},
        **{f"other {k}": few | {"standard_errors": errors} for k in range(parts - 1)},
    }
    return metrics


def test_a_slice_fails_if_its_loss_is_large_and_certain() -> None:
    assert failed(judge(sliced(0.06, 0.05))) == {"ndcg_by_user_activity"}
    assert judge(sliced(0.08, 0.01)).accepted, "certain, but within the limit"
    assert judge(sliced(0.06, 0.4)).accepted, "large, but not certain"
    assert failed(judge(sliced(0.06, None))) == {"ndcg_by_user_activity"}, "as if certain"


def test_the_loss_is_relative_to_the_slices_own_level() -> None:
    # Popularity's NDCG@10 is 0.1 over all users; a drop from 0.02 to 0.01 is half of the slice's.
    low = sliced(0.01, 0.05)
    path = ("slices", "user_activity", "few", "baselines", "popularity", "ndcg@10")
    assert failed(judge(put(low, path, 0.02))) == {"ndcg_by_user_activity"}
    assert judge(put(low, path, 0.0)).accepted, "nothing can be lost of nothing"


def test_the_correction_counts_what_is_looked_at() -> None:
    # 0.4 is 2.67 standard errors of 0.15: enough for one or a few comparisons, not for 400.
    assert not judge(sliced(0.06, 0.15)).accepted
    decision = judge(sliced(0.06, 0.15, parts=200))
    assert decision.accepted
    assert "corrected for 400 comparisons" in reason(decision, "ndcg_by_user_activity")


@law
@given(st.floats(0.0, 0.3), st.floats(0.0, 0.3), st.floats(0, 1))
def test_a_lower_value_never_passes_where_a_higher_one_fails(
    one: float, other: float, error: float
) -> None:
    low, high = sorted((one, other))
    if not judge(sliced(high, error)).accepted:
        assert not judge(sliced(low, error)).accepted
