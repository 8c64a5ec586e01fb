"""Reading metrics safely: a missing or impossible value is never a pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

Metrics = Mapping[str, Any]
Side = Literal["below", "at most", "at least", "above"]
RATING_ERRORS: Final = ("rmse", "mae")


class RuleResult(BaseModel):
    """What one rule found.

    Attributes:
        name: the rule.
        value: what it measured; None when a metric that it needs is missing or no number.
        threshold: the limit that ``value`` was held against; None like ``value``.
        passed: whether the candidate meets it.
        reason: the same in a sentence.
        binding: whether failing it rejects the candidate; else it is only shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    reason: str
    binding: bool = True


class NoNumberError(Exception):
    """A metric is missing or cannot be what it says."""


def inner(metrics: Metrics, *path: str) -> Any:
    """What lies at a path of nested mappings; None where there is nothing."""
    value: Any = metrics
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def number(metrics: Metrics, *path: str) -> float:
    """The metric at a path: an error is at least 0, anything else a share between 0 and 1.

    Raises:
        NoNumberError: it is missing, or no number that it can be.
    """
    value, where = inner(metrics, *path), ".".join(path)
    if value is None:
        raise NoNumberError(f"{where} is missing")
    most = math.inf if path[-1] in RATING_ERRORS else 1.0
    if not is_finite(value) or not 0 <= value <= most:
        raise NoNumberError(f"{where} is {str(value)[:40]}, no number that it can be")
    return float(value)


def interval(metrics: Metrics, difference: str) -> tuple[float, float]:
    """Confidence interval of the difference of two metrics (paired bootstrap over users).

    Raises:
        NoNumberError: it is missing, or no interval.
    """
    where = f"confidence.differences[{difference}]"
    value = inner(metrics, "confidence", "differences", difference)
    if value is None:
        raise NoNumberError(f"{where} is missing")
    ends = list(value) if isinstance(value, list | tuple) else []
    if len(ends) != 2 or not all(map(is_finite, ends)) or ends[0] > ends[1]:
        raise NoNumberError(f"{where} is {str(value)[:40]}, no interval")
    return float(ends[0]), float(ends[1])


def level(metrics: Metrics) -> float:
    """Confidence level of the intervals; NoNumberError if it is missing or no share."""
    return number(metrics, "confidence", "level")


def is_finite(value: Any) -> bool:
    """Whether ``value`` is a finite number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def hold(
    name: str,
    what: str,
    side: Side,
    measure: Callable[[], tuple[float, float]],
    *,
    binding: bool = True,
    more: str = "",
) -> RuleResult:
    """Holds a value against a threshold; ``measure`` gives both, or raises NoNumberError."""
    try:
        value, threshold = measure()
    except NoNumberError as error:
        return unjudged(name, what, error, binding=binding)
    return held(name, what, side, value, threshold, binding=binding, more=more)


def held(
    name: str,
    what: str,
    side: Side,
    value: float,
    threshold: float,
    *,
    binding: bool = True,
    more: str = "",
) -> RuleResult:
    """Holds a value against a threshold."""
    passed = {
        "below": value < threshold,
        "at most": value <= threshold,
        "at least": value >= threshold,
        "above": value > threshold,
    }[side]
    return RuleResult(
        name=name,
        value=value,
        threshold=threshold,
        passed=passed,
        reason=f"{what}: found {value:.4f}, expected {side} {threshold:.4f}{more}",
        binding=binding,
    )


def unjudged(name: str, what: str, error: NoNumberError, *, binding: bool = True) -> RuleResult:
    """A rule that has no number to hold, and so fails."""
    return RuleResult(
        name=name,
        value=None,
        threshold=None,
        passed=False,
        reason=f"{what}: cannot be judged, {error}",
        binding=binding,
    )
