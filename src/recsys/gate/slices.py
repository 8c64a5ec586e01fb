"""The gate's rules that compare each slice of the holdout with the champion or a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from recsys.contract import SliceScores
from recsys.gate.champion import champion_on_same_holdout, has_enough_rows, is_measured, ratio
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import (
    InvalidMetricError,
    RuleResult,
    in_range,
    not_evaluable,
    result,
    score,
)
from recsys.gate.settings import GateSettings

_USER_DIMENSIONS: Final = ("user_activity", "new_users")
"""Dimensions that divide users into slices; all other dimensions divide movies."""
_METRICS: Final = ("rmse", "ndcg@10")


@dataclass(frozen=True)
class _Loss:
    """How much worse than its reference a slice is.

    Attributes:
        share: of the reference's own level on the slice.
        error: its standard error; None if unknown, then ``share`` counts as certain.
    """

    share: float
    error: float | None

    def least(self, deviations: float) -> float:
        """Lower end of the confidence interval."""
        return self.share - deviations * (self.error or 0.0)

    def found(self, deviations: float) -> float:
        """The loss if the interval excludes 0, otherwise the interval's lower end."""
        least = self.least(deviations)
        return self.share if least > 0 else least


def slices(
    candidate: JudgedMetrics, champion: JudgedMetrics | None, settings: GateSettings
) -> Iterator[RuleResult]:
    """Limits how much worse than its reference each slice with enough users and rows may be.

    The reference is the champion if it was evaluated on the same slice, otherwise a baseline.
    Popularity is the reference for slices of users only: in a slice of movies its quality depends
    on the few movies that it recommends. A loss is relative to the reference's metric on the same
    slice.

    A slice fails if its loss is above the limit and its confidence interval excludes no loss. The
    intervals are simultaneous: of k compared slices and metrics each has 1/k of
    ``slice_error_rate`` (Bonferroni's correction: Dunn, "Multiple comparisons among means", JASA
    56, 1961), so that all of them together fail an equally good candidate that rarely.

    There is one rule for each dimension and metric; it shows the worst slice.
    """
    found: dict[tuple[str, str], dict[str, _Loss] | InvalidMetricError] = {}
    for dimension, by_name in (candidate.slices or {}).items():
        large = {
            name[:40]: part for name, part in by_name.items() if _is_large_enough(part, settings)
        }
        for metric in _METRICS:
            try:
                losses = {
                    name: loss
                    for name, part in large.items()
                    if (loss := _loss(candidate, champion, dimension, part, metric, settings))
                }
            except InvalidMetricError as error:
                found[dimension, metric] = error
            else:
                found[dimension, metric] = losses
    looks = sum(len(losses) for losses in found.values() if isinstance(losses, dict))
    deviations = NormalDist().inv_cdf(1 - settings.slice_error_rate / max(looks, 1))
    for (dimension, metric), measured in found.items():
        overall = champion_on_same_holdout(candidate, champion, metric, settings)
        name = f"{metric.partition('@')[0]}_by_{dimension}"
        reference = "the champion's" if overall else "a baseline's"
        template = (
            "relative rise of the RMSE over {}"
            if metric == "rmse"
            else "relative drop of NDCG@10 below {}"
        )
        what = f"{template.format(reference)}, worst slice by {dimension.replace('_', ' ')}"
        if isinstance(measured, InvalidMetricError):
            yield not_evaluable(name, what, measured)
        elif measured:
            worst = max(measured, key=lambda slice_name: measured[slice_name].found(deviations))
            loss = measured[worst]
            limit = (
                settings.max_slice_rmse_rise if metric == "rmse" else settings.max_slice_ndcg_drop
            )
            more = ""
            if loss.error is not None:
                least = loss.least(deviations)
                more = f"; {loss.share:+.4f}, at least {least:+.4f} with confidence, corrected for "
                more += f"{looks} comparisons"
            value = loss.found(deviations)
            yield result(name, f"{what} ({worst})", "at most", value, limit, more=more)


def _is_large_enough(part: SliceScores, settings: GateSettings) -> bool:
    users = part.users
    return (
        users is not None and users >= settings.min_slice_users and has_enough_rows(part, settings)
    )


def _loss(
    candidate: JudgedMetrics,
    champion: JudgedMetrics | None,
    dimension: str,
    part: SliceScores,
    metric: str,
    settings: GateSettings,
) -> _Loss | None:
    """Returns how much worse a slice is than its reference; None if there is no reference.

    Args:
        candidate: the candidate's metrics.
        champion: the champion's; None without one.
        dimension: of the slice.
        part: the slice.
        metric: ``rmse`` or ``ndcg@10``.
        settings: the limits.
    """
    scores = part.champion
    if (
        champion_on_same_holdout(candidate, champion, metric, settings) is not None
        and scores is not None
        and has_enough_rows(scores, settings)
        and is_measured(scores, metric)
    ):
        reference = "champion"
        ours = score(scores.candidate, metric, "slice.champion.candidate")
        theirs = score(scores, metric, "slice.champion")
    elif metric == "rmse":
        reference = "bias"
        ours = score(part, metric, "slice")
        theirs = score(part.baselines.bias, metric, "slice.baselines.bias")
    elif dimension in _USER_DIMENSIONS:
        reference = "popularity"
        ours = score(part, metric, "slice")
        theirs = score(part.baselines.popularity, metric, "slice.baselines.popularity")
    else:
        return None
    if metric != "rmse" and theirs == 0:
        return None  # nothing can be lost
    change = ratio(ours, theirs) - 1
    return _Loss(
        share=change if metric == "rmse" else -change,
        error=_standard_error(part, f"{metric} / {reference}"),
    )


def _standard_error(part: SliceScores, name: str) -> float | None:
    errors = part.standard_errors or {}
    path = f"slice.standard_errors[{name}]"
    found = errors.get(name)
    return None if found is None else in_range(part, name, found, path, math.inf)
