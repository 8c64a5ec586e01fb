"""The forward test: did the release keep what its metrics promised when it was promoted?

Pure functions on what `recsys.evaluation.measure_forward` found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from recsys.contract import FrozenModel, Metrics

METRICS: Final = ("rmse", "ndcg@10", "recall@10")
MIN_USERS: Final = 100
"""Fewer users give intervals that are too narrow: no hit of ten users is an interval of [0, 0]."""
_LOWER_IS_BETTER: Final = frozenset({"rmse"})
Ends = tuple[float, float]
_Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ForwardSettings(FrozenModel):
    """What is tested on newer ratings, and what follows from it."""

    releases: int = Field(
        default=3, ge=0, description="number of retained former champions that are tested"
    )
    min_rows: int = Field(
        default=200, ge=1, description="with fewer newer ratings a release is not tested"
    )
    max_users: int = Field(
        default=20_000, ge=1, description="of more users with newer ratings, a sample is tested"
    )
    min_users: int = Field(
        default=MIN_USERS,
        ge=1,
        description="with newer ratings of fewer users, a metric is shown, but no alert follows",
    )
    max_decay_rmse: _Share = Field(
        default=0.1, description="share by which the RMSE may be above the promised interval"
    )
    max_decay_ndcg: _Share = Field(
        default=0.3, description="share by which NDCG@10 may be below the promised interval"
    )
    automatic_rollback: bool = Field(
        default=False,
        description="whether the run rolls back to an older release that is better with confidence",
    )


class ForwardMetric(BaseModel):
    """What was promised and what was realized of one metric.

    Attributes:
        value: on the newer ratings.
        interval: its confidence interval.
        promised: on a holdout, at promotion, see `promised`; None if unknown.
        promised_interval: its confidence interval; None if unknown.
    """

    model_config = ConfigDict(frozen=True)

    value: float
    interval: Ends
    promised: float | None
    promised_interval: Ends | None

    @property
    def kept(self) -> bool | None:
        """Whether the realized value is in the promised interval; None if nothing was promised."""
        if self.promised_interval is None:
            return None
        low, high = self.promised_interval
        return low <= self.value <= high

    @property
    def consistent(self) -> bool | None:
        """Whether the promise and the realized value differ by no more than both are uncertain.

        Whether 0 is in the interval of their difference, made from their intervals by the method of
        variance estimates recovery (Zou and Donner, Statistics in Medicine 27, 2008). None if
        nothing was promised.
        """
        if self.promised is None or self.promised_interval is None:
            return None
        (low, high), (promised_low, promised_high) = self.interval, self.promised_interval
        difference = self.value - self.promised
        below = math.hypot(self.value - low, promised_high - self.promised)
        above = math.hypot(high - self.value, self.promised - promised_low)
        return difference - below <= 0 <= difference + above


class ForwardTest(BaseModel):
    """A release, tested on ratings that are newer than all that it was made from.

    Attributes:
        release_id: the release.
        dataset_md5: the newer dataset.
        was_champion: whether it was served when it was tested.
        since: the newest timestamp of its own dataset, seconds.
        ratings: newer ratings; those of the sampled users if there were too many.
        users: users of these ratings.
        new_users: users of these ratings that the release does not know.
        few_users: whether they are too few for a proposal, see `ForwardSettings.min_users`.
        rows: pairs of the RMSE.
        ranked_users: users of the rankings.
        metrics: by name; empty if there were too few newer ratings.
        against_champion: intervals of this release minus the champion on ratings newer than both.
        decays: metrics of the champion that are surely worse than promised, in words.
        problem: why it was not tested, or not completely; else empty.
    """

    model_config = ConfigDict(frozen=True)

    release_id: str
    dataset_md5: str
    was_champion: bool
    since: int
    ratings: int = 0
    users: int = 0
    new_users: int = 0
    few_users: bool = False
    rows: int = 0
    ranked_users: int = 0
    metrics: dict[str, ForwardMetric] = {}
    against_champion: dict[str, Ends] = {}
    decays: list[str] = []
    problem: str = ""


def promised(metrics: Metrics | None, name: str) -> tuple[float | None, Ends | None]:
    """Returns a metric and its interval, as the gate read them at promotion.

    They are those on the holdout after one moment, which is what the newer ratings are like, else
    those on each user's newest ratings.
    """
    if metrics is None:
        return None, None
    for part in filter(None, (metrics.time_holdout, metrics)):
        confidence, value = part.confidence, part.model.value(name)
        ends = (confidence.model or {}).get(name) if confidence else None
        if value is not None and ends is not None:
            return value, ends
    return metrics.model.value(name), None


def decays(test: ForwardTest, settings: ForwardSettings) -> list[str]:
    """Returns, in words, which metrics are surely worse than promised, beyond the limits."""
    found = []
    for name, most in (
        ("rmse", settings.max_decay_rmse),
        ("ndcg@10", settings.max_decay_ndcg),
    ):
        metric = test.metrics.get(name)
        users = test.users if name in _LOWER_IS_BETTER else test.ranked_users
        if metric is None or metric.promised_interval is None or users < settings.min_users:
            continue
        low, high = metric.promised_interval
        worse = (
            metric.interval[0] > high * (1 + most)
            if name in _LOWER_IS_BETTER
            else metric.interval[1] < low * (1 - most)
        )
        if worse:
            found.append(
                f"{name}: realized {metric.value:.4f} "
                f"[{metric.interval[0]:.4f}, {metric.interval[1]:.4f}], "
                f"promised [{low:.4f}, {high:.4f}]"
            )
    return found


def better_release(tests: Iterable[ForwardTest]) -> tuple[str, str] | None:
    """Returns the older release that beats the champion with confidence, and why; None if none.

    It must be better by one metric and not be worse by the other one, both with confidence.
    """
    for test in tests:
        if test.was_champion or test.few_users:
            continue
        rmse = test.against_champion.get("rmse")
        ndcg = test.against_champion.get("ndcg@10")
        better_rmse, worse_rmse = _signs(rmse, sign=-1)
        better_ndcg, worse_ndcg = _signs(ndcg, sign=1)
        if (better_rmse and not worse_ndcg) or (better_ndcg and not worse_rmse):
            shown = ", ".join(
                f"{name} of {test.release_id} minus the champion's is in "
                f"[{ends[0]:+.4f}, {ends[1]:+.4f}]"
                for name, ends in (("RMSE", rmse), ("NDCG@10", ndcg))
                if ends is not None
            )
            return test.release_id, f"on ratings newer than both: {shown}"
    return None


def coverage(tests: Sequence[ForwardTest]) -> dict[str, tuple[int, int]]:
    """Returns by metric how many realized values are in their promised interval, and of how many.

    Only releases count that were champion when they were tested.
    """
    return _count(tests, lambda metric: metric.kept)


def consistency(tests: Sequence[ForwardTest]) -> dict[str, tuple[int, int]]:
    """Returns by metric how many realized values are `ForwardMetric.consistent`, and of how many.

    Unlike the coverage, it is 95 % for sound releases also if few users make the realized value
    uncertain. Only releases count that were champion when they were tested.
    """
    return _count(tests, lambda metric: metric.consistent)


def _count(
    tests: Sequence[ForwardTest], of: Callable[[ForwardMetric], bool | None]
) -> dict[str, tuple[int, int]]:
    found = {}
    for name in METRICS:
        answers = [
            of(test.metrics[name]) for test in tests if test.was_champion and name in test.metrics
        ]
        known = [one for one in answers if one is not None]
        if known:
            found[name] = (sum(known), len(known))
    return found


def _signs(ends: Ends | None, *, sign: int) -> tuple[bool, bool]:
    """Returns whether a difference is surely an improvement, and whether surely a loss."""
    if ends is None:
        return False, False
    low, high = sorted((ends[0] * sign, ends[1] * sign))
    return low > 0, high < 0
