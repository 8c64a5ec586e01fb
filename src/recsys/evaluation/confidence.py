"""How sure a metric is: intervals by resampling the holdout's users.

Ratings of one user go together, so users are drawn, not rows. Whatever is measured is a ratio of
sums over users; a resample weighs these sums by how often each user was drawn, so its price does
not depend on the number of rows. All statistics see the same draws: differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recsys.evaluation.tables import Floats, Ints, sums_by_user

LEVEL: Final = 0.95
_BLOCK: Final = 20
"""Resamples at a time: they take this many times 8 bytes a user."""


@dataclass(frozen=True)
class Statistic:
    """sum(top) / sum(bottom) over users, or the root of it.

    Attributes:
        top: by user, shape (users,).
        bottom: by user, shape (users,); 0 for users who do not count.
        root: whether the root is taken.
    """

    top: Floats
    bottom: Floats
    root: bool = False


def rmse_of_rows(user: Ints, error: Floats, n_users: int) -> Statistic:
    """Root mean squared error over rows; ``user`` is each row's, both of shape (n,)."""
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
    """Mean of a value by user; NaN: the user does not count."""
    return Statistic(np.nan_to_num(value), np.isfinite(value).astype(np.float64))


def intervals(
    statistics: Mapping[str, Statistic],
    differences: Mapping[str, tuple[Statistic, Statistic]],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Percentile bootstrap intervals at `LEVEL` (Efron and Tibshirani 1993, chapter 13).

    Args:
        statistics: by name; all of the same users.
        differences: by name (a, b) for a - b.
        resamples: number of times that as many users as there are are drawn with replacement.
        seed: of the draws; the same for the same result.

    Returns:
        ``level``, ``resamples``, ``model`` and ``differences``: in these ``[low, high]`` by name,
        null where no user counts.
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
    with np.errstate(invalid="ignore"):  # a resample may miss all users who count
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
