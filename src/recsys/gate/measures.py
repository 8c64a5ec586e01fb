"""Checked access to metrics, and results of rules.

A metric that is missing or outside its valid range raises `InvalidMetricError`, which fails the
rules that need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from recsys.contract import HoldoutMetrics, Metrics, MetricsPart, Scores

Bound = Literal["below", "at most", "at least", "above"]
"""On which side of its threshold a value must be."""
RATING_ERRORS: Final = ("rmse", "mae")
_LARGE: Final = 1e6


class RuleResult(BaseModel):
    """Result of one rule.

    Attributes:
        name: the rule.
        value: the measured value; None if a metric that the rule needs is missing or invalid.
        threshold: the limit that ``value`` was compared with; None if ``value`` is None.
        passed: whether the candidate passed the rule.
        reason: the comparison in words.
        binding: whether a failure rejects the candidate; otherwise the result is only shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    reason: str
    binding: bool = True


class InvalidMetricError(Exception):
    """A metric is missing or outside its valid range."""


def score(scores: Scores, name: str, path: str) -> float:
    """Returns a metric: rating errors are at least 0, all others are from 0 to 1.

    Args:
        scores: the metrics of one recommender.
        name: the metric's name in the file, e.g. ``ndcg@10``.
        path: where ``scores`` are in the file, e.g. ``baselines.bias``; for the error message.

    Raises:
        InvalidMetricError: the metric is missing or outside its valid range.
    """
    upper = math.inf if name in RATING_ERRORS else 1.0
    return in_range(scores, name, scores.value(name), f"{path}.{name}", upper)


def in_range(
    part: MetricsPart, name: str, value: float | None, path: str, upper: float = 1.0
) -> float:
    """Returns ``value``, the field ``name`` of ``part``, if it is from 0 to ``upper``.

    Raises:
        InvalidMetricError: the value is missing or outside this range.
    """
    if value is None:
        raise invalid(part, name, path)
    if not 0 <= value <= upper:
        expected = "at least 0" if math.isinf(upper) else f"0 to {upper:g}"
        raise InvalidMetricError(f"{path} is {str(value)[:40]}, expected {expected}")
    return value


def invalid(part: MetricsPart, name: str, path: str) -> InvalidMetricError:
    """Returns the error for a field of ``part`` that is None: missing, or not a finite number."""
    found = part.invalid_value(name)
    if found is None:
        return InvalidMetricError(f"{path} is missing")
    return InvalidMetricError(f"{path} is {found}, expected a finite number")


def interval(metrics: HoldoutMetrics, difference: str) -> tuple[float, float]:
    """Returns the confidence interval of a difference of two metrics.

    Raises:
        InvalidMetricError: it is missing, or not an interval.
    """
    differences = metrics.confidence.differences if metrics.confidence else None
    ends = (differences or {}).get(difference)
    if ends is None:
        raise InvalidMetricError(
            f"confidence.differences[{difference}] is missing or not an ascending pair of numbers"
        )
    return ends


def confidence_level(metrics: Metrics) -> float:
    """Returns the confidence level of the intervals; raises InvalidMetricError if it is invalid."""
    confidence = metrics.confidence
    if confidence is None:
        raise InvalidMetricError("confidence.level is missing")
    return in_range(confidence, "level", confidence.level, "confidence.level")


def compare(
    name: str,
    what: str,
    bound: Bound,
    measure: Callable[[], tuple[float, float]],
    *,
    binding: bool = True,
    more: str = "",
) -> RuleResult:
    """Compares the value and the threshold that ``measure`` returns.

    If ``measure`` raises InvalidMetricError, the rule fails.
    """
    try:
        value, threshold = measure()
    except InvalidMetricError as error:
        return not_evaluable(name, what, error, binding=binding)
    return result(name, what, bound, value, threshold, binding=binding, more=more)


def result(
    name: str,
    what: str,
    bound: Bound,
    value: float,
    threshold: float,
    *,
    binding: bool = True,
    more: str = "",
) -> RuleResult:
    """Returns the result of comparing ``value`` with ``threshold``."""
    passed = {
        "below": value < threshold,
        "at most": value <= threshold,
        "at least": value >= threshold,
        "above": value > threshold,
    }[bound]
    return RuleResult(
        name=name,
        value=value,
        threshold=threshold,
        passed=passed,
        reason=f"{what}: found {_shown(value)}, expected {bound} {_shown(threshold)}{more}",
        binding=binding,
    )


def _shown(value: float) -> str:
    # A trainer may claim any number.
    return f"{value:.4f}" if abs(value) < _LARGE else f"{value:.4g}"


def not_evaluable(
    name: str, what: str, error: InvalidMetricError, *, binding: bool = True
) -> RuleResult:
    """Returns the result of a rule that fails because a metric is missing or invalid."""
    return RuleResult(
        name=name,
        value=None,
        threshold=None,
        passed=False,
        reason=f"{what}: cannot be evaluated, {error}",
        binding=binding,
    )
