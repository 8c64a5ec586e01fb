"""What a candidate loses against its champion, as a logarithm with its standard error."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

from pydantic import BaseModel, ConfigDict

from recsys.gate.champion import champion_on_same_holdout, ndcg_ratio, ratio, rmse_share
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import InvalidMetricError, confidence_level, interval, score
from recsys.gate.rules import NDCG_OVER_CHAMPION, RMSE_OVER_CHAMPION
from recsys.gate.settings import GateSettings

_LARGEST_ERROR: Final = 100.0
"""A larger standard error means the same, and its square could overflow."""


class Loss(BaseModel):
    """What one metric of a candidate loses against its champion.

    Attributes:
        log: natural logarithm of the ratio, above 0 if the candidate is worse.
        error: standard error of ``log``; 0 if the metrics contain no interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    log: float
    error: float


def measure_loss(
    candidate: JudgedMetrics, champion: JudgedMetrics, metric: str, settings: GateSettings
) -> Loss | None:
    """Returns the loss of ``rmse`` or ``ndcg@10``, from the numbers that the rules compare.

    It is None if one of them is missing, invalid or 0; the rules against the champion report it.
    """
    sign = 1 if metric == "rmse" else -1
    scores = champion_on_same_holdout(candidate, champion, metric, settings)
    try:
        if scores is not None:
            theirs = score(scores, metric, "champion")
            quotient = ratio(score(scores.candidate, metric, "champion.candidate"), theirs)
            error = _error_of_difference(candidate, metric) / theirs
        else:
            of = rmse_share if metric == "rmse" else ndcg_ratio
            quotient = ratio(of(candidate), of(champion))
            error = math.hypot(
                _relative_error(candidate, metric), _relative_error(champion, metric)
            )
        return Loss(log=sign * math.log(quotient), error=min(error, _LARGEST_ERROR))
    except (InvalidMetricError, ValueError):
        # math.log(0), or a pydantic error about a number that is not finite.
        return None


def _error_of_difference(candidate: JudgedMetrics, metric: str) -> float:
    name = RMSE_OVER_CHAMPION if metric == "rmse" else NDCG_OVER_CHAMPION
    try:
        low, high = interval(candidate, name)
        return (high - low) / (2 * _quantile(candidate))
    except InvalidMetricError:
        return 0.0


def _relative_error(metrics: JudgedMetrics, metric: str) -> float:
    ends = ((metrics.confidence and metrics.confidence.model) or {}).get(metric)
    value = metrics.model.value(metric)
    if ends is None or not value:
        return 0.0
    try:
        return (ends[1] - ends[0]) / (2 * _quantile(metrics) * value)
    except InvalidMetricError:
        return 0.0


def _quantile(metrics: JudgedMetrics) -> float:
    """Returns the standard normal's quantile of the intervals' level."""
    level = confidence_level(metrics)
    if not 0.5 <= level < 1:
        raise InvalidMetricError(f"confidence.level is {level}, expected 0.5 to 1")
    return NormalDist().inv_cdf((1 + level) / 2)
