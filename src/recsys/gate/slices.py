"""The gate's rules that compare each slice of the holdout with the champion or a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recsys.contract import ChampionScores, SliceScores
from recsys.gate.champion import champion_on_same_holdout, has_enough_rows, is_measured, ratio
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import (
    InvalidMetricError,
    RuleResult,
    not_evaluable,
    result,
    score,
)
from recsys.gate.settings import GateSettings

_USER_DIMENSIONS: Final = ("user_activity", "new_users")
"""Dimensions that divide users into slices; all other dimensions divide movies."""


def slices(
    candidate: JudgedMetrics, champion: JudgedMetrics | None, settings: GateSettings
) -> Iterator[RuleResult]:
    """Limits how much worse than its reference each slice with enough users and rows may be.

    The reference is the champion if it was evaluated on the same slice, otherwise a baseline. The
    rise of the RMSE is relative to the reference's RMSE on the slice. The drop of NDCG@10 is
    relative to the reference's NDCG@10 over all users: on a slice where it is almost 0, a relative
    drop would be noise. Popularity is the reference for slices of users only: in a slice of movies
    its quality depends on the few movies that it recommends.

    There is one rule for each dimension and metric; it shows the worst slice.
    """
    for dimension, by_name in (candidate.slices or {}).items():
        large = {
            name[:40]: part for name, part in by_name.items() if _is_large_enough(part, settings)
        }
        for metric, limit, template in (
            ("rmse", settings.max_slice_rmse_rise, "relative rise of the RMSE over {}"),
            (
                "ndcg@10",
                settings.max_slice_ndcg_drop,
                "drop of NDCG@10 below {}, relative to it over all users",
            ),
        ):
            overall = champion_on_same_holdout(candidate, champion, metric, settings)
            name = f"{metric.partition('@')[0]}_by_{dimension}"
            what = template.format("the champion's" if overall else "a baseline's")
            what += f", worst slice by {dimension.replace('_', ' ')}"
            try:
                losses = {
                    slice_name: loss
                    for slice_name, part in large.items()
                    if (loss := _loss(candidate, dimension, part, metric, overall, settings))
                    is not None
                }
            except InvalidMetricError as error:
                yield not_evaluable(name, what, error)
                continue
            if losses:
                worst = max(losses, key=lambda slice_name: losses[slice_name])
                yield result(name, f"{what} ({worst})", "at most", losses[worst], limit)


def _is_large_enough(part: SliceScores, settings: GateSettings) -> bool:
    users = part.users
    return (
        users is not None and users >= settings.min_slice_users and has_enough_rows(part, settings)
    )


def _loss(
    candidate: JudgedMetrics,
    dimension: str,
    part: SliceScores,
    metric: str,
    overall: ChampionScores | None,
    settings: GateSettings,
) -> float | None:
    """Returns how much worse a slice is than its reference; None if there is no reference.

    Args:
        candidate: the candidate's metrics.
        dimension: of the slice.
        part: the slice.
        metric: ``rmse`` or ``ndcg@10``.
        overall: the champion's scores on the whole holdout; None if they cannot be compared.
        settings: the limits.
    """
    champion = part.champion
    if (
        overall is not None
        and champion is not None
        and has_enough_rows(champion, settings)
        and is_measured(champion, metric)
    ):
        ours = score(champion.candidate, metric, "slice.champion.candidate")
        theirs = score(champion, metric, "slice.champion")
        scale = score(overall, metric, "champion")
    elif metric == "rmse":
        ours = score(part, metric, "slice")
        theirs = score(part.baselines.bias, metric, "slice.baselines.bias")
        scale = score(candidate.baselines.bias, metric, "baselines.bias")
    elif dimension in _USER_DIMENSIONS:
        ours = score(part, metric, "slice")
        theirs = score(part.baselines.popularity, metric, "slice.baselines.popularity")
        scale = score(candidate.baselines.popularity, metric, "baselines.popularity")
    else:
        return None
    if metric == "rmse":
        return ratio(ours, theirs) - 1
    return ratio(theirs - ours, scale) if scale else None
