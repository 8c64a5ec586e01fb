"""The gate's rules that compare a candidate with the champion on the whole holdout."""

from __future__ import annotations

import math
from collections.abc import Iterator

from recsys.contract import ChampionScores, SliceScores
from recsys.gate.data_rules import ids_changed
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import (
    InvalidMetricError,
    RuleResult,
    compare,
    confidence_level,
    interval,
    score,
)
from recsys.gate.rules import NDCG_OVER_CHAMPION, RMSE_OVER_CHAMPION
from recsys.gate.settings import GateSettings


def not_a_copy(candidate: JudgedMetrics, champion: JudgedMetrics) -> RuleResult | None:
    """A candidate must differ from the champion in something it serves.

    Returns None if the digests are unknown.
    """
    ours, theirs = candidate.contents, champion.contents
    if not ours or theirs is None:
        return None
    names = {*ours, *theirs}
    differences = sum(ours.get(name) != theirs.get(name) for name in names)
    return RuleResult(
        name="not_a_copy",
        value=differences,
        threshold=1,
        passed=differences > 0,
        reason=f"{differences} of {len(names)} served artifacts differ from the champion's"
        if differences
        else "copy of the champion: predictions, towers and movie vectors are the same",
    )


def champion_on_same_holdout(
    candidate: JudgedMetrics, champion: JudgedMetrics | None, metric: str, settings: GateSettings
) -> ChampionScores | None:
    """Returns the champion's scores on the candidate's holdout, if they can be compared.

    The trainer evaluates the release that is champion when it starts. If another release has become
    champion since, too few pairs were evaluated, or the dataset gives ids to others than the
    champion's dataset did, the result is None.
    """
    scores = candidate.champion
    if champion is None or scores is None or ids_changed(candidate, settings):
        return None
    same_release = champion.release_id is None or scores.release_id == champion.release_id
    if not same_release or not has_enough_rows(scores, settings):
        return None
    return scores if is_measured(scores, metric) else None


def against_champion(
    candidate: JudgedMetrics, champion: JudgedMetrics, settings: GateSettings
) -> Iterator[RuleResult]:
    """Limits how much worse than the champion's RMSE and NDCG@10 may be.

    Both are compared on the candidate's holdout if the champion was evaluated on it. Otherwise each
    release is measured relative to a baseline on its own holdout, because holdouts differ in
    difficulty: RMSE relative to the movie means', NDCG@10 relative to popularity's.
    """
    why = _changed_ids_text(candidate, settings)
    max_rmse_ratio, minndcg_ratio = 1 + settings.max_rmse_rise, 1 - settings.max_ndcg_drop
    rated = champion_on_same_holdout(candidate, champion, "rmse", settings)
    if rated is not None:
        yield compare(
            "rmse_against_champion",
            "RMSE against the champion's on the same holdout",
            "at most",
            lambda: (
                score(rated.candidate, "rmse", "champion.candidate"),
                score(rated, "rmse", "champion") * max_rmse_ratio,
            ),
            more=_difference_text(candidate, RMSE_OVER_CHAMPION),
        )
    else:
        yield compare(
            "rmse_against_champion",
            "RMSE as a share of the movie means', against the champion's",
            "at most",
            lambda: (rmse_share(candidate), rmse_share(champion) * max_rmse_ratio),
            more=why,
        )
    ranked = champion_on_same_holdout(candidate, champion, "ndcg@10", settings)
    if ranked is not None:
        yield compare(
            "ndcg_against_champion",
            "NDCG@10 against the champion's on the same holdout",
            "at least",
            lambda: (
                score(ranked.candidate, "ndcg@10", "champion.candidate"),
                score(ranked, "ndcg@10", "champion") * minndcg_ratio,
            ),
            more=_difference_text(candidate, NDCG_OVER_CHAMPION),
        )
        yield compare(
            "ndcg_surely_below_champion",
            "NDCG@10 minus the champion's, upper end of the confidence interval",
            "at least",
            lambda: (
                interval(candidate, NDCG_OVER_CHAMPION)[1],
                -settings.max_sure_ndcg_drop * score(ranked, "ndcg@10", "champion"),
            ),
        )
    else:
        yield compare(
            "ndcg_against_champion",
            "NDCG@10 as a multiple of popularity's, against the champion's",
            "at least",
            lambda: (ndcg_ratio(candidate), ndcg_ratio(champion) * minndcg_ratio),
            more=why,
        )


def has_enough_rows(part: SliceScores | ChampionScores, settings: GateSettings) -> bool:
    """Whether enough pairs were evaluated for a comparison."""
    return part.rows is not None and part.rows >= settings.min_slice_rows


def is_measured(scores: ChampionScores, metric: str) -> bool:
    """Whether the file has a value for the metric, even an invalid one, which fails its rule."""
    return scores.value(metric) is not None or scores.invalid_value(metric) is not None


def _changed_ids_text(candidate: JudgedMetrics, settings: GateSettings) -> str:
    if not ids_changed(candidate, settings):
        return ""
    share = (candidate.drift or {})["changed_pairs"]
    return f"; not on the same holdout, because ids changed: {share:.0%} of the pairs are missing"


def _difference_text(candidate: JudgedMetrics, difference: str) -> str:
    try:
        low, high = interval(candidate, difference)
        level = confidence_level(candidate)
    except InvalidMetricError:
        return ""
    return f"; {difference} in [{low:.4f}, {high:.4f}] at {level:.0%} confidence"


def rmse_share(metrics: JudgedMetrics) -> float:
    """Returns the RMSE as a share of the movie means'."""
    return ratio(
        score(metrics.model, "rmse", "model"),
        score(metrics.baselines.movie_mean, "rmse", "baselines.movie_mean"),
    )


def ndcg_ratio(metrics: JudgedMetrics) -> float:
    """Returns NDCG@10 as a multiple of popularity's."""
    return ratio(
        score(metrics.model, "ndcg@10", "model"),
        score(metrics.baselines.popularity, "ndcg@10", "baselines.popularity"),
    )


def ratio(value: float, reference: float) -> float:
    """Returns the quotient; raises InvalidMetricError if it is not a finite number."""
    # A positive reference can be so small that the quotient overflows.
    if reference == 0 or not math.isfinite(value / reference):
        raise InvalidMetricError(f"the reference is {reference:.4g}, expected a larger number")
    return value / reference
