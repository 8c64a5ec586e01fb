"""The gate's rules about change: against the champion, and slice by slice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recsys.gate.measures import (
    Metrics,
    NoNumberError,
    RuleResult,
    held,
    hold,
    interval,
    level,
    number,
    unjudged,
)
from recsys.gate.rules import NDCG_OVER_CHAMPION, RMSE_OVER_CHAMPION
from recsys.gate.settings import GateSettings

CONTENTS: Final = "contents"
"""Digests of what a release serves, by name; see `recsys.gate.judged_metrics`."""
_OF_USERS: Final = ("user_activity", "new_users")
"""Dimensions whose slices are of users; those of the others are of movies."""


def not_a_copy(candidate: Metrics, champion: Metrics) -> RuleResult | None:
    """A candidate must serve something else than the champion; None: digests are not known."""
    ours, theirs = candidate.get(CONTENTS), champion.get(CONTENTS)
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping) or not ours:
        return None
    differ = sum(ours.get(name) != theirs.get(name) for name in {*ours, *theirs})
    return RuleResult(
        name="not_a_copy",
        value=differ,
        threshold=1,
        passed=differ > 0,
        reason=f"{differ} of {len({*ours, *theirs})} things served differ from the champion's"
        if differ
        else "copy of the champion: predictions, towers and movie vectors are the same",
    )


def _same_holdout(
    candidate: Metrics, champion: Metrics | None, metric: str, settings: GateSettings
) -> bool:
    """Whether this champion was scored on the candidate's own holdout, on enough of it.

    The trainer scores whoever is champion when it starts; by now another may be.
    """
    scored = candidate.get("champion")
    if champion is None or not isinstance(scored, Mapping):
        return False
    judged = champion.get("release_id")
    same = judged is None or scored.get("release_id") == judged
    return same and _enough(scored, settings) and scored.get(metric) is not None


def against_champion(
    candidate: Metrics, champion: Metrics, settings: GateSettings
) -> Iterator[RuleResult]:
    """RMSE and NDCG@10 may be only so much worse than the champion's.

    On the same holdout where the champion was scored on it. Else holdouts differ in difficulty, so
    both are compared by skill: the RMSE as a share of that of each movie's mean, and NDCG@10 as a
    multiple of popularity's, each on its own holdout.
    """
    worst_rmse, least_ndcg = 1 + settings.max_rmse_rise, 1 - settings.max_ndcg_drop
    if _same_holdout(candidate, champion, "rmse", settings):
        yield hold(
            "rmse_against_champion",
            "RMSE against the champion's on the same holdout",
            "at most",
            lambda: (
                number(candidate, "champion", "candidate", "rmse"),
                number(candidate, "champion", "rmse") * worst_rmse,
            ),
            more=_noise(candidate, RMSE_OVER_CHAMPION),
        )
    else:
        yield hold(
            "rmse_against_champion",
            "RMSE as a share of the movie means', against the champion's",
            "at most",
            lambda: (_rmse_share(candidate), _rmse_share(champion) * worst_rmse),
        )
    if _same_holdout(candidate, champion, "ndcg@10", settings):
        yield hold(
            "ndcg_against_champion",
            "NDCG@10 against the champion's on the same holdout",
            "at least",
            lambda: (
                number(candidate, "champion", "candidate", "ndcg@10"),
                number(candidate, "champion", "ndcg@10") * least_ndcg,
            ),
            more=_noise(candidate, NDCG_OVER_CHAMPION),
        )
        yield hold(
            "ndcg_surely_below_champion",
            "NDCG@10 less the champion's, upper end of its confidence interval",
            "at least",
            lambda: (
                interval(candidate, NDCG_OVER_CHAMPION)[1],
                -settings.max_sure_ndcg_drop * number(candidate, "champion", "ndcg@10"),
            ),
        )
    else:
        yield hold(
            "ndcg_against_champion",
            "NDCG@10 as a multiple of popularity's, against the champion's",
            "at least",
            lambda: (_ndcg_ratio(candidate), _ndcg_ratio(champion) * least_ndcg),
        )


def slices(
    candidate: Metrics, champion: Metrics | None, settings: GateSettings
) -> Iterator[RuleResult]:
    """No slice of enough users and rows may be much worse than its reference.

    The reference is the champion where it was scored on the same slice, else a baseline. The RMSE
    may rise by a share. NDCG@10 may drop by a share of the reference's over all users: where next
    to nothing is ranked right, a share of that would be noise. Popularity is a reference for
    slices of users only: in a slice of movies it is as good as the few that it recommends.

    One rule for each dimension and metric, which shows its worst slice.
    """
    known = candidate.get("slices")
    for dimension, parts in known.items() if isinstance(known, Mapping) else ():
        large = {
            str(name)[:40]: part
            for name, part in (parts.items() if isinstance(parts, Mapping) else ())
            if _large_enough(part, settings)
        }
        for metric, limit, what in (
            ("rmse", settings.max_slice_rmse_rise, "rise of the RMSE over {} (share)"),
            (
                "ndcg@10",
                settings.max_slice_ndcg_drop,
                "drop of NDCG@10 below {} (share of its all)",
            ),
        ):
            scored = _same_holdout(candidate, champion, metric, settings)
            name = f"{metric.partition('@')[0]}_by_{dimension}"
            told = what.format("the champion's" if scored else "a baseline's")
            told += f", worst slice by {str(dimension).replace('_', ' ')}"
            try:
                losses = {
                    slice_name: loss
                    for slice_name, part in large.items()
                    if (loss := _loss(candidate, str(dimension), part, metric, scored, settings))
                    is not None
                }
            except NoNumberError as error:
                yield unjudged(name, told, error)
                continue
            if losses:
                worst = max(losses, key=lambda slice_name: losses[slice_name])
                yield held(name, f"{told} ({worst})", "at most", losses[worst], limit)


def _large_enough(part: Any, settings: GateSettings) -> bool:
    users = part.get("users") if isinstance(part, Mapping) else None
    return isinstance(users, int) and users >= settings.min_slice_users and _enough(part, settings)


def _enough(part: Metrics, settings: GateSettings) -> bool:
    rows = part.get("rows")
    return isinstance(rows, int) and rows >= settings.min_slice_rows


def _loss(
    candidate: Metrics,
    dimension: str,
    part: Metrics,
    metric: str,
    scored: bool,
    settings: GateSettings,
) -> float | None:
    """How much worse a slice is than its reference; None where it has none."""
    champion = part.get("champion")
    if (
        scored
        and isinstance(champion, Mapping)
        and _enough(champion, settings)
        and champion.get(metric) is not None
    ):
        ours, theirs = number(part, "champion", "candidate", metric), number(champion, metric)
        overall = number(candidate, "champion", metric)
    elif metric == "rmse" or dimension in _OF_USERS:
        baseline = "bias" if metric == "rmse" else "popularity"
        ours, theirs = number(part, metric), number(part, "baselines", baseline, metric)
        overall = number(candidate, "baselines", baseline, metric)
    else:
        return None
    if metric == "rmse":
        return _ratio(ours, theirs) - 1
    return _ratio(theirs - ours, overall) if overall else None


def _noise(candidate: Metrics, difference: str) -> str:
    try:
        low, high = interval(candidate, difference)
        return f"; {difference} in [{low:.4f}, {high:.4f}] at {level(candidate):.0%} confidence"
    except NoNumberError:
        return ""


def _rmse_share(metrics: Metrics) -> float:
    return _ratio(
        number(metrics, "model", "rmse"), number(metrics, "baselines", "movie_mean", "rmse")
    )


def _ndcg_ratio(metrics: Metrics) -> float:
    return _ratio(
        number(metrics, "model", "ndcg@10"), number(metrics, "baselines", "popularity", "ndcg@10")
    )


def _ratio(value: float, baseline: float) -> float:
    # Even a positive baseline can be too small for the quotient to be a number.
    if baseline == 0 or not math.isfinite(value / baseline):
        raise NoNumberError(f"the baseline is {baseline:.4g}: nothing to compare with")
    return value / baseline
