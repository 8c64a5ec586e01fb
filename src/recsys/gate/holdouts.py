"""The gate's rules on the holdouts beside each user's newest ratings: in time, and the last visit.

After one moment there are few users with a history, so intervals are wide and the rules ask only
that a candidate is not surely worse than its references.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from recsys.contract import HoldoutMetrics, TimeHoldoutMetrics
from recsys.gate.data_rules import ids_changed
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import RuleResult, compare, interval, score
from recsys.gate.rules import (
    NDCG_OVER_CHAMPION,
    NDCG_OVER_POPULARITY,
    RMSE_OVER_BIAS,
    RMSE_OVER_CHAMPION,
)
from recsys.gate.settings import GateSettings

_LARGEST_TIME: Final = 2**37
"""Seconds since 1970; in the year 6325, which ``datetime`` can still represent."""


def time_holdout(
    candidate: JudgedMetrics, champion: JudgedMetrics | None, settings: GateSettings
) -> Iterator[RuleResult]:
    """Limits how surely a candidate may be worse than its references after the moment.

    The rules bind only with ``min_time_users`` users that had rated before; otherwise they are
    shown, and say so. Nothing is returned if the holdout was not measured.
    """
    part = candidate.time_holdout
    if part is None:
        return
    warm = part.holdout.ranked_users or 0
    binding = warm >= settings.min_time_users
    note = _note(part, warm, settings)
    yield compare(
        "time_rmse_against_bias",
        "RMSE after the moment minus that of user and movie biases, lower end of the confidence "
        "interval",
        "at most",
        lambda: (
            interval(part, RMSE_OVER_BIAS)[0],
            settings.max_rmse_rise * score(part.baselines.bias, "rmse", "baselines.bias"),
        ),
        binding=binding,
        more=note,
    )
    if warm:
        yield compare(
            "time_ndcg_against_popularity",
            "NDCG@10 after the moment minus that of the most popular movies, upper end of the "
            "confidence interval",
            "at least",
            lambda: (interval(part, NDCG_OVER_POPULARITY)[1], settings.min_ndcg_over_popularity),
            binding=binding,
            more=note,
        )
    yield from _against_champion(
        "time", "after the moment", part, candidate, champion, settings, note, bound=True
    )


def last_visit(
    candidate: JudgedMetrics, champion: JudgedMetrics | None, settings: GateSettings
) -> Iterator[RuleResult]:
    """Shows the ranking of what users rate on a later day than the rest; never binding.

    Nothing is returned if no user was measured.
    """
    part = candidate.last_visit
    if part is None or not part.holdout.ranked_users:
        return
    note = f"; {part.holdout.ranked_users:,} users; shown only"
    yield compare(
        "last_visit_ndcg_against_popularity",
        "NDCG@10 of the last visit minus that of the most popular movies, lower end of the "
        "confidence interval",
        "above",
        lambda: (interval(part, NDCG_OVER_POPULARITY)[0], settings.min_ndcg_over_popularity),
        binding=False,
        more=note,
    )
    yield from _against_champion(
        "last_visit", "of the last visit", part, candidate, champion, settings, note, bound=False
    )


def _against_champion(
    prefix: str,
    where: str,
    part: HoldoutMetrics,
    candidate: JudgedMetrics,
    champion: JudgedMetrics | None,
    settings: GateSettings,
    note: str,
    *,
    bound: bool,
) -> Iterator[RuleResult]:
    scores = part.champion
    if champion is None or scores is None or ids_changed(candidate, settings):
        return
    if champion.release_id is not None and scores.release_id != champion.release_id:
        return
    users = scores.ranked_users or 0
    binding = bound and users >= settings.min_time_users
    if bound and not binding and "not binding" not in note:
        note += f"; not binding: {users} of them are the champion's"

    def rmse() -> tuple[float, float]:
        rise = settings.max_rmse_rise * score(scores, "rmse", "champion")
        return interval(part, RMSE_OVER_CHAMPION)[0], rise

    def ndcg() -> tuple[float, float]:
        drop = settings.max_sure_ndcg_drop * score(scores, "ndcg@10", "champion")
        return interval(part, NDCG_OVER_CHAMPION)[1], -drop

    measures: list[tuple[str, str, Callable[[], tuple[float, float]]]] = []
    if scores.rows:
        measures.append(("rmse", "at most", rmse))
    if users:
        measures.append(("ndcg", "at least", ndcg))
    for name, bound_name, measure in measures:
        metric, end = ("RMSE", "lower") if name == "rmse" else ("NDCG@10", "upper")
        yield compare(
            f"{prefix}_{name}_against_champion",
            f"{metric} {where} minus the champion's, {end} end of the confidence interval",
            "at most" if bound_name == "at most" else "at least",
            measure,
            binding=binding,
            more=note,
        )


def _note(part: TimeHoldoutMetrics, warm: int, settings: GateSettings) -> str:
    users = part.holdout.users or 0
    since = ""
    if part.moment is not None and 0 <= part.moment < _LARGEST_TIME:
        since = f" from {datetime.fromtimestamp(part.moment, UTC):%Y-%m-%d} on"
    note = f"; {users:,} users{since}, {warm:,} of them known before"
    if warm < settings.min_time_users:
        note += f"; not binding: fewer than {settings.min_time_users} users were known before"
    return note
