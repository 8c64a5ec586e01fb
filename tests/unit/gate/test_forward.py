"""Whether a release kept its promise, and which older one is better."""

from __future__ import annotations

import pytest

from recsys.contract import Metrics
from recsys.gate import (
    ForwardMetric,
    ForwardSettings,
    ForwardTest,
    better_release,
    consistency,
    coverage,
    decays,
    promised,
)
from recsys.gate.forward import MIN_USERS
from tests.metrics_maker import GOOD, put

SETTINGS = ForwardSettings()


def a_test(
    *,
    champion: bool = True,
    against: dict[str, tuple[float, float]] | None = None,
    **metrics: float,
) -> ForwardTest:
    """A test whose intervals are 0.01 wide around each value."""
    found = {
        {"rmse": "rmse", "ndcg": "ndcg@10"}[name]: ForwardMetric(
            value=value,
            interval=(value - 0.005, value + 0.005),
            promised=0.85 if name == "rmse" else 0.15,
            promised_interval=(0.83, 0.87) if name == "rmse" else (0.14, 0.16),
        )
        for name, value in metrics.items()
    }
    return ForwardTest(
        release_id="r",
        dataset_md5="d",
        was_champion=champion,
        since=1,
        users=MIN_USERS,
        ranked_users=MIN_USERS,
        metrics=found,
        against_champion=against or {},
    )


def test_a_promise_is_the_metric_on_the_holdout_with_its_interval() -> None:
    metrics = Metrics.model_validate(GOOD | {"metrics_schema": 1})
    assert promised(metrics, "rmse") == (0.85, (0.83, 0.87))
    assert promised(metrics, "recall@10") == (0.09, None)
    assert promised(None, "rmse") == (None, None)
    later = {"model": {"rmse": 0.95}, "confidence": {"level": 0.95, "model": {"rmse": [0.9, 1.0]}}}
    both = Metrics.model_validate(GOOD | {"metrics_schema": 1, "time_holdout": later})
    assert promised(both, "rmse") == (0.95, (0.9, 1.0))
    assert promised(both, "ndcg@10") == (0.15, (0.14, 0.16)), "not measured after one moment"
    without = put(GOOD, ("confidence",), None) | {"metrics_schema": 1}
    assert promised(Metrics.model_validate(without), "rmse") == (0.85, None)


@pytest.mark.parametrize(
    ("rmse", "decayed"), [(0.5, False), (0.87, False), (0.9619, False), (0.9621, True)]
)
def test_rmse_decays_if_its_whole_interval_is_beyond_the_promised_one_and_the_limit(
    rmse: float, decayed: bool
) -> None:
    found = decays(a_test(rmse=rmse), SETTINGS)
    assert bool(found) == decayed
    assert all("promised [0.8300, 0.8700]" in text for text in found)


@pytest.mark.parametrize(("ndcg", "decayed"), [(0.9, False), (0.0931, False), (0.0929, True)])
def test_ndcg_decays_if_its_whole_interval_is_below(ndcg: float, decayed: bool) -> None:
    assert bool(decays(a_test(ndcg=ndcg), SETTINGS)) == decayed


def test_without_a_promise_nothing_decays_and_nothing_is_covered() -> None:
    unpromised = ForwardMetric(
        value=9.0, interval=(8.0, 10.0), promised=None, promised_interval=None
    )
    test = a_test().model_copy(update={"metrics": {"rmse": unpromised}})
    assert decays(test, SETTINGS) == []
    assert coverage([test]) == {}


def test_coverage_counts_champions_whose_value_is_in_the_promised_interval() -> None:
    tests = [a_test(rmse=0.85, ndcg=0.1), a_test(rmse=0.9), a_test(champion=False, rmse=0.85)]
    assert coverage(tests) == {"rmse": (1, 2), "ndcg@10": (0, 1)}


@pytest.mark.parametrize(
    ("value", "half", "consistent"),
    [
        # Half-widths of 0.02 and 0.015 are 0.025 together.
        *((0.8749, 0.015, True), (0.8751, 0.015, False)),
        *((0.8251, 0.015, True), (0.8249, 0.015, False)),
        # Outside the promised interval, and far too few users to say so.
        (1.1, 0.4, True),
    ],
)
def test_a_value_is_consistent_if_it_differs_by_no_more_than_both_are_uncertain(
    value: float, half: float, consistent: bool
) -> None:
    metric = ForwardMetric(
        value=value,
        interval=(value - half, value + half),
        promised=0.85,
        promised_interval=(0.83, 0.87),
    )
    assert metric.consistent is consistent
    test = a_test().model_copy(update={"metrics": {"rmse": metric}})
    assert consistency([test, a_test(champion=False, rmse=9.0)]) == {"rmse": (int(consistent), 1)}
    assert metric.model_copy(update={"promised": None}).consistent is None


def test_each_side_of_a_difference_has_the_uncertainty_of_that_side() -> None:
    """A realized value below the promise: its upper end and the promise's lower end count."""
    metric = ForwardMetric(
        value=0.10, interval=(0.09, 0.19), promised=0.15, promised_interval=(0.10, 0.16)
    )
    assert metric.consistent
    mirrored = metric.model_copy(
        update={"interval": (0.01, 0.11), "promised_interval": (0.14, 0.2)}
    )
    assert not mirrored.consistent


@pytest.mark.parametrize(
    ("rmse", "ndcg", "better"),
    [
        ((-0.02, -0.01), None, True),
        ((-0.02, 0.01), None, False),
        (None, (0.01, 0.02), True),
        ((-0.02, -0.01), (-0.02, 0.02), True),
        ((-0.02, -0.01), (-0.02, -0.01), False),
        ((0.01, 0.02), (0.01, 0.02), False),
        ((-0.01, 0.01), (0.01, 0.02), True),
        (None, None, False),
    ],
)
def test_an_older_release_is_better_by_one_metric_and_surely_worse_by_none(
    rmse: tuple[float, float] | None, ndcg: tuple[float, float] | None, better: bool
) -> None:
    against = {"rmse": rmse, "ndcg@10": ndcg}
    known = {name: ends for name, ends in against.items() if ends is not None}
    older = a_test(champion=False, against=known)

    found = better_release([a_test(rmse=0.9), older])

    assert (found is not None) == better
    if found is not None:
        assert found[0] == "r"
        assert "newer than both" in found[1]


def test_few_users_are_shown_and_cause_neither_an_alert_nor_a_proposal() -> None:
    # As in a replay of ml-latest-small: none of 11 users has a hit, so every resample has none.
    few = {"users": MIN_USERS - 1, "ranked_users": MIN_USERS - 1, "few_users": True}
    decayed = a_test(rmse=2.0, ndcg=0.0)
    assert len(decays(decayed, SETTINGS)) == 2
    assert len(decays(decayed.model_copy(update={"ranked_users": 11}), SETTINGS)) == 1
    assert decays(decayed.model_copy(update=few), SETTINGS) == []
    older = a_test(champion=False, against={"rmse": (-0.2, -0.1)})
    assert better_release([older]) is not None
    assert better_release([older.model_copy(update=few)]) is None


def test_a_test_survives_a_round_trip() -> None:
    test = a_test(rmse=0.9, ndcg=0.1)
    assert ForwardTest.model_validate_json(test.model_dump_json()) == test
