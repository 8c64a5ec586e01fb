"""Each rule of the gate."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from recsys import gate
from recsys.contract import RatingScale
from tests.judging import (
    INVALID_NUMBERS,
    PATHS,
    SETTINGS,
    failed,
    judge,
    rule_names,
    served,
)
from tests.metrics_maker import (
    CHAMPION,
    GOOD,
    Metrics,
    as_judged,
    put,
    scored,
    with_ndcg,
    with_rmse,
)


def test_the_first_release_is_compared_with_limits_and_with_baselines_by_slice() -> None:
    decision = judge(served(GOOD), None, SETTINGS)

    assert decision.accepted
    assert rule_names(decision) == {
        "metrics_are_numbers",
        "predictions_are_stars",
        "rmse_against_bias",
        "ndcg_against_popularity",
        "coverage_floor",
        "rmse_too_good",
        "ndcg_too_good",
        "served_model_learned",
        "served_model_is_the_evaluated",
        "movie_vectors_against_popularity",
        "rmse_by_user_activity",
        "ndcg_by_user_activity",
    }


def test_a_later_release_is_also_compared_with_the_champion() -> None:
    champion = served(GOOD, contents={"movie_vectors": "another"})
    decision = judge(served(GOOD), champion, SETTINGS)

    assert decision.accepted
    assert rule_names(decision) >= {
        "not_a_copy",
        "rmse_against_champion",
        "ndcg_against_champion",
    }


@pytest.mark.parametrize(
    ("difference", "passing", "failing", "rule"),
    [
        ("rmse - bias", [-0.1, -0.0001], [-0.1, 0.0], "rmse_against_bias"),
        ("ndcg@10 - popularity", [0.0001, 0.1], [0.0, 0.1], "ndcg_against_popularity"),
    ],
)
def test_a_gain_counts_only_if_its_confidence_interval_excludes_zero(
    difference: str, passing: list[float], failing: list[float], rule: str
) -> None:
    path = ("confidence", "differences", difference)
    assert judge(put(GOOD, path, passing), None, SETTINGS).accepted

    assert failed(judge(put(GOOD, path, failing), None, SETTINGS)) == {rule}


def test_stars_that_no_rating_has_need_no_mean_prediction() -> None:
    rated = {"stars": 1.0, "rows": 3, "mean_prediction": 1.5}
    unrated = {"stars": 1.5, "rows": 0, "mean_prediction": None}

    assert judge(put(GOOD, ("calibration",), [rated, unrated]), None, SETTINGS).accepted
    for row in (unrated, unrated | {"rows": 3}, unrated | {"rows": None}):
        assert failed(judge(put(GOOD, ("calibration",), [row]), None, SETTINGS)) == {
            "predictions_are_stars"
        }


@pytest.mark.parametrize(
    ("metrics", "passing", "failing", "rule"),
    [
        (lambda v: put(GOOD, ("model", "coverage"), v), 0.05, 0.049, "coverage_floor"),
        (lambda v: with_rmse(GOOD, v), 0.676, 0.674, "rmse_too_good"),
        (lambda v: with_ndcg(GOOD, v), 0.6, 0.601, "ndcg_too_good"),
        (
            lambda v: put(served(GOOD), ("serving", "shift_rmse"), v),
            0.001,
            0.0009,
            "served_model_learned",
        ),
        (
            lambda v: put(served(GOOD), ("serving", "shift_rmse"), v),
            0.5,
            0.51,
            "served_model_is_the_evaluated",
        ),
        (
            lambda v: put(served(GOOD), ("movie_vectors", "found", "movie_vectors", "hit_rate"), v),
            0.07,
            0.069,
            "movie_vectors_against_popularity",
        ),
        (
            lambda v: put(GOOD, ("calibration",), [{"stars": 1.0, "mean_prediction": v}]),
            5.0,
            5.1,
            "predictions_are_stars",
        ),
        (
            lambda v: put(GOOD, ("slices", "user_activity", "few", "rmse"), v),
            0.945,
            0.946,
            "rmse_by_user_activity",
        ),
        (
            lambda v: put(GOOD, ("slices", "user_activity", "few", "ndcg@10"), v),
            0.0751,
            0.0749,
            "ndcg_by_user_activity",
        ),
    ],
)
def test_a_value_at_the_limit_passes_and_a_value_beyond_it_fails(
    metrics: Any, passing: float, failing: float, rule: str
) -> None:
    at_the_limit = judge(metrics(passing), None, SETTINGS)
    assert at_the_limit.accepted, at_the_limit.reason

    decision = judge(metrics(failing), None, SETTINGS)
    assert failed(decision) == {rule}
    [reason] = [r.reason for r in decision.rules if r.name == rule]
    assert decision.reason == reason


@pytest.mark.parametrize(
    ("path", "passing", "failing", "rule"),
    [
        (("champion", "candidate", "rmse"), 0.946, 0.947, "rmse_against_champion"),
        (("champion", "candidate", "ndcg@10"), 0.1161, 0.1159, "ndcg_against_champion"),
    ],
)
def test_a_champion_that_was_evaluated_on_the_same_holdout_is_the_reference(
    path: tuple[str, ...], passing: float, failing: float, rule: str
) -> None:
    # On its own, older holdout this champion has much better metrics.
    champion = with_ndcg(with_rmse(GOOD, 0.6), 0.5) | {"release_id": CHAMPION["release_id"]}

    decision = judge(put(scored(GOOD), path, passing), champion, SETTINGS)
    assert decision.accepted, decision.reason
    assert failed(judge(put(scored(GOOD), path, failing), champion, SETTINGS)) == {rule}


def test_a_small_drop_fails_if_the_whole_interval_is_below_the_limit() -> None:
    champion = GOOD | {"release_id": CHAMPION["release_id"]}
    path = ("confidence", "differences", "ndcg@10 - champion")

    assert judge(put(scored(GOOD), path, [-0.05, -0.007]), champion, SETTINGS).accepted
    decision = judge(put(scored(GOOD), path, [-0.05, -0.008]), champion, SETTINGS)
    assert failed(decision) == {"ndcg_surely_below_champion"}


def test_popularity_is_no_reference_for_ndcg_in_slices_of_movies() -> None:
    metrics = put(GOOD, ("slices", "genre"), GOOD["slices"]["user_activity"])
    metrics = put(metrics, ("slices", "genre", "few", "ndcg@10"), 0.0)

    decision = judge(metrics, None, SETTINGS)

    assert decision.accepted, decision.reason
    assert "rmse_by_genre" in rule_names(decision)
    assert "ndcg_by_genre" not in rule_names(decision)


def test_scores_of_an_earlier_champion_are_not_used() -> None:
    champion = with_ndcg(with_rmse(GOOD, 0.6), 0.5) | {"release_id": "ffffffff-ffffffff"}

    decision = judge(scored(GOOD), champion, SETTINGS)

    assert failed(decision) == {"rmse_against_champion", "ndcg_against_champion"}
    assert "movie means" in decision.reason


def test_a_champion_that_was_evaluated_on_few_pairs_is_compared_relative_to_baselines() -> None:
    champion = GOOD | {"release_id": CHAMPION["release_id"]}

    few = scored(GOOD, rows=SETTINGS.min_slice_rows - 1, rmse=0.5)

    assert judge(few, champion, SETTINGS).accepted


@pytest.mark.parametrize("metric", ["rmse", "ndcg@10"])
def test_a_slice_worse_than_the_champions_fails(metric: str) -> None:
    candidate = scored(GOOD)
    candidate["slices"]["user_activity"]["few"]["champion"] = {
        "rows": 4000,
        "rmse": 0.8,
        "ndcg@10": 0.2,
        "candidate": {"rmse": 0.8, "ndcg@10": 0.2},
    }
    assert judge(candidate, GOOD, SETTINGS).accepted

    worse = {"rmse": 0.9, "ndcg@10": 0.1}[metric]
    path = ("slices", "user_activity", "few", "champion", "candidate", metric)
    decision = judge(put(candidate, path, worse), GOOD, SETTINGS)

    assert failed(decision) == {f"{metric.partition('@')[0]}_by_user_activity"}
    assert "(few)" in decision.reason


def test_a_slice_whose_users_are_all_gone_fails_nothing() -> None:
    """All of them were erased: the candidate has no such slice, and the champion has."""
    candidate = scored(GOOD)
    del candidate["slices"]["user_activity"]["few"]
    assert judge(candidate, GOOD, SETTINGS).accepted
    del candidate["slices"]["user_activity"]
    assert judge(candidate, GOOD, SETTINGS).accepted


@pytest.mark.parametrize(("count", "least"), [("users", 100), ("rows", 1000)])
def test_a_small_slice_is_not_evaluated(count: str, least: int) -> None:
    bad = put(GOOD, ("slices", "user_activity", "few", "rmse"), 3.0)
    path = ("slices", "user_activity", "few", count)

    assert judge(put(bad, path, least - 1), None, SETTINGS).accepted
    assert not judge(put(bad, path, least), None, SETTINGS).accepted


@pytest.mark.parametrize("value", [math.nan, None])
def test_a_slice_without_valid_metrics_fails(value: object) -> None:
    decision = judge(put(GOOD, ("slices", "user_activity", "few", "rmse"), value), None, SETTINGS)

    assert failed(decision) == {"rmse_by_user_activity"}
    assert "cannot be evaluated" in decision.reason


def test_a_copy_of_the_champion_is_rejected_whatever_its_metrics() -> None:
    decision = judge(served(GOOD), served(GOOD), SETTINGS)

    assert failed(decision) == {"not_a_copy"}
    assert "copy of the champion" in decision.reason


@pytest.mark.parametrize("other", ["golden_predictions.json", "movie_vectors", "user_towers"])
def test_a_candidate_that_differs_in_one_digest_is_not_a_copy(other: str) -> None:
    champion = put(served(GOOD), ("contents", other), "x")
    assert judge(served(GOOD), champion, SETTINGS).accepted


def test_a_champion_on_another_holdout_is_compared_relative_to_baselines() -> None:
    easier = copy.deepcopy(GOOD)
    easier["model"] |= {"rmse": 0.85 / 2, "ndcg@10": 0.15 * 2}
    easier["baselines"]["movie_mean"]["rmse"] /= 2
    easier["baselines"]["popularity"]["ndcg@10"] *= 2

    assert judge(GOOD, easier, SETTINGS).accepted


def test_a_champion_of_other_ids_is_compared_relative_to_baselines_and_the_reason_says_so() -> None:
    champion = with_ndcg(with_rmse(GOOD, 0.6), 0.5) | {"release_id": CHAMPION["release_id"]}
    candidate = scored(GOOD)
    few = judge(candidate | {"drift": {"changed_pairs": 0.5}}, champion, SETTINGS)
    assert failed(few) == {"vanished_ratings"}, "the ids are the same, and half of them is lost"

    decision = judge(candidate | {"drift": {"changed_pairs": 0.9}}, champion, SETTINGS)

    assert failed(decision) == {"rmse_against_champion", "ndcg_against_champion"}
    assert "movie means" in decision.reason
    assert "because ids changed: 90% of the pairs are missing" in decision.reason


def test_slices_of_other_ids_are_compared_with_baselines() -> None:
    candidate = scored(GOOD)
    candidate["slices"]["user_activity"]["few"]["champion"] = {
        **{"rows": 4000, "rmse": 0.5, "ndcg@10": 0.9},
        "candidate": {"rmse": 0.9, "ndcg@10": 0.1},
    }
    champion = GOOD | {"release_id": CHAMPION["release_id"]}
    assert not judge(candidate, champion, SETTINGS).accepted
    assert judge(candidate | {"drift": {"changed_pairs": 0.9}}, champion, SETTINGS).accepted


def test_metrics_pass_against_themselves_with_limits_of_zero() -> None:
    strict = SETTINGS.model_copy(update={"max_rmse_rise": 0.0, "max_ndcg_drop": 0.0})
    assert judge(GOOD, GOOD, strict).accepted


@pytest.mark.parametrize("path", PATHS, ids=".".join)
@pytest.mark.parametrize("value", INVALID_NUMBERS)
def test_an_invalid_metric_is_rejected_by_name(path: tuple[str, ...], value: object) -> None:
    decision = judge(put(GOOD, path, value), GOOD, SETTINGS)

    assert not decision.accepted
    assert ".".join(path) in decision.reason
    assert "metrics_are_numbers" in failed(decision)


@pytest.mark.parametrize("difference", GOOD["confidence"]["differences"])
@pytest.mark.parametrize(
    "value", [*INVALID_NUMBERS, [], [0.1], [1, 0], [0, math.nan], [0, "1"], [0, 1, 2]]
)
def test_an_invalid_interval_is_rejected_by_name(difference: str, value: object) -> None:
    decision = judge(put(GOOD, ("confidence", "differences", difference), value), None, SETTINGS)

    assert "metrics_are_numbers" in failed(decision)
    assert difference in decision.reason


@pytest.mark.parametrize("path", [("confidence",), ("slices",)])
def test_metrics_without_intervals_or_slices_are_rejected(path: tuple[str, ...]) -> None:
    decision = judge(put(GOOD, path, None), None, SETTINGS)

    assert "metrics_are_numbers" in failed(decision)
    assert path[0] in decision.reason


def test_an_interval_that_contradicts_the_metrics_is_rejected() -> None:
    decision = judge(put(GOOD, ("model", "rmse"), 0.95), None, SETTINGS)

    assert failed(decision) == {"metrics_are_numbers"}
    assert "outside its own confidence interval" in decision.reason


@pytest.mark.parametrize("metrics", [{}, {"model": None}, {"model": 3, "baselines": []}])
def test_metrics_of_a_wrong_shape_fail_every_rule(metrics: Metrics) -> None:
    decision = judge(metrics, None, SETTINGS)

    assert not decision.accepted
    assert len(failed(decision)) == len(decision.rules)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "rmse"), math.nan),
        (("model", "ndcg@10"), None),
        *(
            (("baselines", *path), value)
            for path in (("movie_mean", "rmse"), ("popularity", "ndcg@10"))
            for value in (math.nan, None, 0.0)
        ),
    ],
)
def test_a_champion_without_valid_metrics_rejects_the_candidate(
    path: tuple[str, ...], value: object
) -> None:
    decision = judge(GOOD, put(GOOD, path, value), SETTINGS)

    assert not decision.accepted
    assert "cannot be evaluated" in decision.reason


def test_limits_in_stars_are_mapped_to_the_scale_of_the_dataset() -> None:
    ten = RatingScale(min=1, max=10)
    settings = SETTINGS.model_copy(update={"max_rmse_over_bias": -0.01})
    serving = {"shift_rmse": 0.6}
    of_stars = gate.judge(as_judged({**GOOD, "serving": serving}), None, settings)
    of_ten = gate.judge(
        as_judged({**GOOD, "serving": serving}).model_copy(update={"scale": ten}), None, settings
    )
    limits = [
        {rule.name: rule.threshold for rule in decision.rules} for decision in (of_stars, of_ten)
    ]
    changed = {name for name in limits[0] if limits[0][name] != limits[1][name]}
    assert changed == {
        "rmse_against_bias",
        "served_model_learned",
        "served_model_is_the_evaluated",
    }
    for name in changed:
        assert limits[1][name] == pytest.approx(2 * (limits[0][name] or 0))
    # 0.6 stars are too far, 0.6 points of ten are not.
    assert "served_model_is_the_evaluated" in failed(of_stars)
    assert "served_model_is_the_evaluated" not in failed(of_ten)


def test_predictions_must_be_in_the_scale_of_the_dataset() -> None:
    calibration = [{"stars": 8.0, "rows": 5, "mean_prediction": 7.5}]
    candidate = as_judged({**GOOD, "calibration": calibration})
    assert "predictions_are_stars" in failed(gate.judge(candidate, None, SETTINGS))
    ten = candidate.model_copy(update={"scale": RatingScale(min=1, max=10)})
    assert "predictions_are_stars" not in failed(gate.judge(ten, None, SETTINGS))
