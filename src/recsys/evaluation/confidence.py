"""Confidence intervals of metrics, by resampling the holdout's users.

The ratings of one user are correlated, so users are resampled, not rows. Every metric is a ratio of
sums over users. A resample weights these sums by the number of times that each user was drawn, so
its cost does not depend on the number of rows. All statistics use the same draws, so differences
are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recsys.evaluation.tables import Floats, Ints, sums_by_user

LEVEL: Final = 0.95
_BLOCK: Final = 20
"""Number of resamples computed at a time; each takes 8 bytes per user."""


@dataclass(frozen=True)
class Statistic:
    """sum(top) / sum(bottom) over users, or its square root.

    Attributes:
        top: numerator by user, shape (users,).
        bottom: denominator by user, shape (users,); 0 for users without data.
        root: whether the square root is taken.
    """

    top: Floats
    bottom: Floats
    root: bool = False


def rmse_of_rows(user: Ints, error: Floats, n_users: int) -> Statistic:
    """Root mean squared error over rows; ``user`` is the user of each row, both of shape (n,)."""
    return Statistic(
        sums_by_user(user, np.square(error), n_users),
        sums_by_user(user, np.ones(len(user)), n_users),
        root=True,
    )


def mae_of_rows(user: Ints, error: Floats, n_users: int) -> Statistic:
    """Mean absolute error over rows."""
    return Statistic(
        sums_by_user(user, np.abs(error), n_users),
        sums_by_user(user, np.ones(len(user)), n_users),
    )


def mean_of_users(value: Floats) -> Statistic:
    """Mean of a value over users; NaN for users without data."""
    return Statistic(np.nan_to_num(value), np.isfinite(value).astype(np.float64))


def relative_error(one: Statistic, other: Statistic) -> float | None:
    """Returns the standard error of ``(one - other) / other`` over the sampling of users.

    By the delta method (Deng, Knoblich and Lu, "Applying the delta method in metric analytics",
    KDD 2018): a slice has its interval in one pass, where resampling every slice would take minutes
    on millions of users. The difference varies and ``other`` counts as exact, as in a test that
    both are equal: the error of the ratio itself vanishes with ``one``, so that a slice in which a
    candidate has no hit, and the champion a single one by chance, would be surely worse.

    Args:
        one: a statistic.
        other: another of the same users.

    Returns:
        The error; None if ``other`` is 0, or one of both has no data or a single user.
    """
    influences = []
    for statistic in (one, other):
        bottom = statistic.bottom.sum()
        if not bottom > 0:
            return None
        mean = statistic.top.sum() / bottom
        influence = (statistic.top - mean * statistic.bottom) / bottom
        if statistic.root and mean > 0:
            influence /= 2 * np.sqrt(mean)
        influences.append(influence)
    level = np.sqrt(mean) if other.root else mean
    n_users = int(np.count_nonzero(one.bottom + other.bottom))
    if not level > 0 or n_users < 2:
        return None
    spread = np.square(influences[0] - influences[1]).sum() * n_users / (n_users - 1)
    return float(np.sqrt(spread) / level)


def intervals(
    statistics: Mapping[str, Statistic],
    differences: Mapping[str, tuple[Statistic, Statistic]],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Percentile bootstrap intervals at `LEVEL` (Efron and Tibshirani 1993, chapter 13).

    Args:
        statistics: statistics by name, all for the same users.
        differences: pairs (a, b) by name, for a - b.
        resamples: number of resamples; each draws as many users as there are, with replacement.
        seed: seed of the draws.

    Returns:
        ``level``, ``resamples``, ``model`` and ``differences``. The last two have ``[low, high]``
        by name, null if no user has data.
    """
    all_of = [*statistics.values(), *(s for pair in differences.values() for s in pair)]
    sums = np.column_stack([part for s in all_of for part in (s.top, s.bottom)])
    n_users = len(sums)
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, sums.shape[1]))
    times = np.empty((_BLOCK, n_users))
    for start in range(0, resamples, _BLOCK):
        block = drawn[start : start + _BLOCK]
        for k in range(len(block)):
            users = rng.integers(n_users, size=n_users, dtype=np.int32)
            times[k] = np.bincount(users, minlength=n_users)
        block[:] = times[: len(block)] @ sums
    with np.errstate(invalid="ignore"):  # a resample may have no user with data
        values = drawn[:, 0::2] / drawn[:, 1::2]
    values[:, [s.root for s in all_of]] **= 0.5

    first = len(statistics)
    return {
        "level": LEVEL,
        "resamples": resamples,
        "model": {name: _interval(values[:, k]) for k, name in enumerate(statistics)},
        "differences": {
            name: _interval(values[:, k] - values[:, k + 1])
            for k, name in zip(range(first, values.shape[1], 2), differences, strict=True)
        },
    }


def _interval(values: Floats) -> list[float] | None:
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return [float(q) for q in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
