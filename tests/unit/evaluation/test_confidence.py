"""Bootstrap intervals against what theory and a plain restatement say."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.confidence import (
    Statistic,
    intervals,
    mae_of_rows,
    mean_of_users,
    relative_error,
    rmse_of_rows,
)


def one(statistic: Statistic, resamples: int = 2000, seed: int = 1) -> tuple[float, float]:
    low, high = intervals({"it": statistic}, {}, resamples, seed)["model"]["it"]
    return low, high


def test_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(4).normal(3, 2, 5000)

    low, high = one(mean_of_users(values))

    error = values.std() / np.sqrt(5000)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error
    )


def test_users_are_drawn_whole_with_all_their_rows() -> None:
    # Within a user all errors are alike: as many rows tell no more than so many users.
    rng = np.random.default_rng(5)
    error = rng.normal(size=400)
    few = one(rmse_of_rows(np.arange(400), error, 400))
    many = one(rmse_of_rows(np.repeat(np.arange(400), 50), np.repeat(error, 50), 400))

    assert many == pytest.approx(few)


def test_intervals_are_quantiles_of_the_resampled_metric_restated() -> None:
    rng = np.random.default_rng(6)
    user = np.sort(rng.integers(0, 30, 300))
    user[:30] = np.arange(30)
    error = rng.normal(size=300)
    found = intervals(
        {"rmse": rmse_of_rows(user, error, 30), "mae": mae_of_rows(user, error, 30)}, {}, 50, 9
    )

    drawing = np.random.default_rng(9)
    rmse, mae = [], []
    for _ in range(50):
        drawn = drawing.integers(30, size=30, dtype=np.int32)
        errors = np.concatenate([error[user == u] for u in drawn])
        rmse.append(np.sqrt(np.mean(errors**2)))
        mae.append(np.mean(np.abs(errors)))
    assert found["model"]["rmse"] == pytest.approx(np.quantile(rmse, [0.025, 0.975]))
    assert found["model"]["mae"] == pytest.approx(np.quantile(mae, [0.025, 0.975]))


def test_differences_are_paired() -> None:
    # Both swing widely from user to user and differ by the same 0.01 everywhere.
    values = np.random.default_rng(7).normal(0, 10, 200)
    pair = (mean_of_users(values + 0.01), mean_of_users(values))

    low, high = intervals({}, {"a - b": pair}, 500, 0)["differences"]["a - b"]

    assert (low, high) == pytest.approx((0.01, 0.01))


def test_users_without_a_value_do_not_count_and_no_user_at_all_is_null() -> None:
    values = np.array([1.0, np.nan, 1.0, np.nan])

    found = intervals(
        {"some": mean_of_users(values), "none": mean_of_users(np.full(4, np.nan))}, {}, 100, 0
    )

    assert found["model"] == {"some": [1.0, 1.0], "none": None}


def test_the_same_seed_draws_the_same_users_and_another_one_others() -> None:
    statistic = mean_of_users(np.random.default_rng(8).normal(size=50))

    assert one(statistic, 100, seed=1) == one(statistic, 100, seed=1)
    assert one(statistic, 100, seed=1) != one(statistic, 100, seed=2)


def test_the_standard_error_of_a_relative_difference_is_that_of_resampling_the_users() -> None:
    rng = np.random.default_rng(11)
    n_users = 400
    rows = rng.integers(1, 30, n_users)
    user = np.repeat(np.arange(n_users), rows)
    error = rng.normal(0, 1, len(user)) * (1 + 0.3 * rng.random(n_users))[user]
    other = 0.8 * error + rng.normal(0, 0.5, len(user))
    one, two = (rmse_of_rows(user, e, n_users) for e in (error, other))
    drawn = np.array(
        [np.bincount(rng.integers(n_users, size=n_users), minlength=n_users) for _ in range(2000)]
    )

    def values(statistic: Statistic, times: np.ndarray) -> np.ndarray:
        ratio: np.ndarray = np.sqrt((times @ statistic.top) / (times @ statistic.bottom))
        return ratio

    level = values(two, np.ones(n_users))
    expected = float(np.std(values(one, drawn) - values(two, drawn)) / level)
    assert relative_error(one, two) == pytest.approx(expected, rel=0.1)
    assert relative_error(one, one) == pytest.approx(0.0, abs=1e-12)
    nothing = Statistic(np.zeros(n_users), np.ones(n_users))
    assert relative_error(one, nothing) is None
    single = Statistic(np.array([1.0]), np.array([1.0]))
    assert relative_error(single, single) is None


@pytest.mark.parametrize("left", [0.0, 0.05])
@pytest.mark.parametrize(("hits", "surely"), [(1, False), (4, False), (20, True)])
def test_few_lost_hits_are_no_sure_loss(left: float, hits: int, surely: bool) -> None:
    # As in a slice of rare movies, where nearly all users have no hit with any model.
    champion, candidate = np.zeros(500), np.zeros(500)
    champion[:hits] = 1.0
    candidate[0] = left
    error = relative_error(mean_of_users(candidate), mean_of_users(champion))

    assert error is not None
    loss = 1 - candidate.sum() / hits
    assert (loss - 3 * error > 0) == surely
