"""The gate: a pure function from metrics to a decision, with every rule, value and threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from recsys.settings import GateSettings

_RATING_ERRORS: Final = ("rmse", "mae")
_RANKING: Final = ("ndcg@10", "recall@10", "recall@20", "mrr", "coverage")
_NEEDED: Final = (
    *(("model", name) for name in (*_RATING_ERRORS, *_RANKING)),
    *(
        ("baselines", baseline, name)
        for baseline in ("global_mean", "movie_mean", "bias")
        for name in _RATING_ERRORS
    ),
    *(("baselines", "popularity", name) for name in _RANKING),
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleResult(_Frozen):
    """What one rule found.

    Attributes:
        name: the rule.
        value: what it measured; None when a metric that it needs is missing or no number.
        threshold: the limit that ``value`` was held against; None like ``value``.
        passed: whether the candidate meets it.
        reason: the same in a sentence.
        binding: whether failing it rejects the candidate; else it is only shown.
    """

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    reason: str
    binding: bool = True


class Decision(_Frozen):
    """Accept or reject, and why."""

    accepted: bool
    rules: tuple[RuleResult, ...]
    reason: str

    def to_json(self) -> str:
        """The decision as it is stored in the ledger."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Decision:
        """Reads a stored decision; raises pydantic.ValidationError if it is not one."""
        return cls.model_validate_json(text)


def judge(
    candidate: Mapping[str, Any], champion: Mapping[str, Any] | None, settings: GateSettings
) -> Decision:
    """Holds a candidate's metrics against floors, baselines and the champion.

    Holdouts differ between datasets, so a candidate is compared with the champion by skill: the
    RMSE as a share of that of each movie's mean, and NDCG@10 as a multiple of popularity's, each
    on its own holdout. A metric that is missing or no finite number fails every rule that needs
    it, the champion's metrics included: there is no decision without numbers.

    Args:
        candidate: metrics as `recsys.evaluation.evaluate` returns them.
        champion: the champion's metrics; None for the first release, which has no such rules.
        settings: the limits.
    """

    def of(*path: str) -> float:
        return _metric(candidate, *path)

    rules = [
        _metrics_are_numbers(candidate),
        _rule(
            "rmse_against_movie_mean",
            "RMSE against that of each movie's mean",
            "at most",
            lambda: (
                of("model", "rmse"),
                of("baselines", "movie_mean", "rmse") * (1 - settings.min_rmse_gain),
            ),
        ),
        _rule(
            "rmse_against_bias",
            "RMSE against that of user and movie biases",
            "at most",
            lambda: (of("model", "rmse"), of("baselines", "bias", "rmse")),
            binding=False,
        ),
        _rule(
            "ndcg_against_popularity",
            "NDCG@10 against that of the most popular movies",
            "at least",
            lambda: (
                of("model", "ndcg@10"),
                of("baselines", "popularity", "ndcg@10") * settings.min_ndcg_ratio,
            ),
        ),
        _rule(
            "coverage_floor",
            "share of movies recommended to anyone",
            "at least",
            lambda: (of("model", "coverage"), settings.min_coverage),
        ),
    ]
    if champion is not None:
        rules += [
            _rule(
                "rmse_against_champion",
                "RMSE as a share of the movie means', against the champion's",
                "at most",
                lambda: (
                    _rmse_share(candidate),
                    _rmse_share(champion) * (1 + settings.max_rmse_rise),
                ),
            ),
            _rule(
                "ndcg_against_champion",
                "NDCG@10 as a multiple of popularity's, against the champion's",
                "at least",
                lambda: (
                    _ndcg_ratio(candidate),
                    _ndcg_ratio(champion) * (1 - settings.max_ndcg_drop),
                ),
            ),
        ]
    failed = [rule.reason for rule in rules if rule.binding and not rule.passed]
    compared = "there is no other champion" if champion is None else "no worse than the champion"
    return Decision(
        accepted=not failed,
        rules=tuple(rules),
        reason="; ".join(failed) if failed else f"every binding rule passed; {compared}",
    )


class _NoNumberError(Exception):
    """A metric is missing or cannot be what it says."""


def _metric(metrics: Mapping[str, Any], *path: str) -> float:
    value: Any = metrics
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    where = ".".join(path)
    if value is None:
        raise _NoNumberError(f"{where} is missing")
    most = math.inf if path[-1] in _RATING_ERRORS else 1.0
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value <= most
    ):
        raise _NoNumberError(f"{where} is {str(value)[:40]}, no number that it can be")
    return float(value)


def _metrics_are_numbers(metrics: Mapping[str, Any]) -> RuleResult:
    faults = []
    for path in _NEEDED:
        try:
            _metric(metrics, *path)
        except _NoNumberError as error:
            faults.append(str(error))
    return RuleResult(
        name="metrics_are_numbers",
        value=len(faults),
        threshold=0,
        passed=not faults,
        reason=", ".join(faults) or f"all {len(_NEEDED)} metrics are finite numbers",
    )


def _rule(
    name: str,
    what: str,
    side: Literal["at most", "at least"],
    measure: Callable[[], tuple[float, float]],
    *,
    binding: bool = True,
) -> RuleResult:
    """Holds a value against a threshold; ``measure`` gives both, or raises _NoNumberError."""
    try:
        value, threshold = measure()
    except _NoNumberError as error:
        return RuleResult(
            name=name,
            value=None,
            threshold=None,
            passed=False,
            reason=f"{what}: cannot be judged, {error}",
            binding=binding,
        )
    passed = value <= threshold if side == "at most" else value >= threshold
    return RuleResult(
        name=name,
        value=value,
        threshold=threshold,
        passed=passed,
        reason=f"{what}: found {value:.4f}, expected {side} {threshold:.4f}",
        binding=binding,
    )


def _rmse_share(metrics: Mapping[str, Any]) -> float:
    return _ratio(
        _metric(metrics, "model", "rmse"), _metric(metrics, "baselines", "movie_mean", "rmse")
    )


def _ndcg_ratio(metrics: Mapping[str, Any]) -> float:
    return _ratio(
        _metric(metrics, "model", "ndcg@10"), _metric(metrics, "baselines", "popularity", "ndcg@10")
    )


def _ratio(value: float, baseline: float) -> float:
    # Even a positive baseline can be too small for the quotient to be a number.
    if baseline == 0 or not math.isfinite(value / baseline):
        raise _NoNumberError(f"the baseline is {baseline:.4g}: nothing to compare with")
    return value / baseline
