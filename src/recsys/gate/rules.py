"""The rules of the gate: each holds one number of a candidate against one limit.

A rule never guesses: a number that it needs and that is missing, no number, or impossible fails it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recsys.contract import MAX_STARS, MIN_STARS
from recsys.gate.measures import (
    RATING_ERRORS,
    Metrics,
    NoNumberError,
    RuleResult,
    hold,
    inner,
    interval,
    is_finite,
    level,
    number,
)
from recsys.gate.settings import GateSettings

RMSE_OVER_BIAS: Final = "rmse - bias"
NDCG_OVER_POPULARITY: Final = "ndcg@10 - popularity"
RMSE_OVER_CHAMPION: Final = "rmse - champion"
NDCG_OVER_CHAMPION: Final = "ndcg@10 - champion"

ANOTHER_POPULATION: Final = 0.25
"""A population stability index above this is of another population (Siddiqi 2006)."""

_RANKING: Final = ("ndcg@10", "recall@10", "recall@20", "mrr", "coverage")
_NEEDED: Final = (
    *(("model", name) for name in (*RATING_ERRORS, *_RANKING)),
    *(
        ("baselines", baseline, name)
        for baseline in ("global_mean", "movie_mean", "bias")
        for name in RATING_ERRORS
    ),
    *(("baselines", "popularity", name) for name in _RANKING),
)
_DIFFERENCES: Final = (
    (RMSE_OVER_BIAS, ("model", "rmse"), ("baselines", "bias", "rmse")),
    (NDCG_OVER_POPULARITY, ("model", "ndcg@10"), ("baselines", "popularity", "ndcg@10")),
)


def metrics_are_numbers(metrics: Metrics) -> RuleResult:
    """Everything that a rule needs is there, finite, possible, and agrees with itself."""
    faults = list(_faults(metrics))
    return RuleResult(
        name="metrics_are_numbers",
        value=len(faults),
        threshold=0,
        passed=not faults,
        reason=", ".join(faults) or "all metrics are finite, possible, and agree with each other",
    )


def _faults(metrics: Metrics) -> Iterator[str]:
    for path in _NEEDED:
        try:
            number(metrics, *path)
        except NoNumberError as error:
            yield str(error)
    try:
        level(metrics)
    except NoNumberError as error:
        yield str(error)
    for difference, of, other in _DIFFERENCES:
        try:
            low, high = interval(metrics, difference)
            found = number(metrics, *of) - number(metrics, *other)
        except NoNumberError as error:
            # A missing metric was named above.
            if "confidence" in str(error):
                yield str(error)
            continue
        # A bootstrap interval may miss the point estimate, but never by more than its own width.
        slack = (high - low) + 1e-6
        if not low - slack <= found <= high + slack:
            yield (
                f"{difference} is {found:.4f} by the metrics, outside its own confidence interval "
                f"[{low:.4f}, {high:.4f}]"
            )
    if not isinstance(metrics.get("slices"), Mapping):
        yield "slices is missing"


def predictions_are_stars(metrics: Metrics) -> RuleResult | None:
    """The mean prediction of every number of stars lies in the range of stars; None: unmeasured."""
    rows = metrics.get("calibration")
    if not isinstance(rows, list) or not rows:
        return None

    def measure() -> tuple[float, float]:
        means: list[Any] = [row.get("mean_prediction") for row in rows if isinstance(row, Mapping)]
        if len(means) < len(rows) or not all(map(is_finite, means)):
            raise NoNumberError("calibration holds a mean prediction that is no number")
        return max(max(MIN_STARS - mean, mean - MAX_STARS, 0.0) for mean in means), 0.0

    return hold(
        "predictions_are_stars",
        f"stars by which a mean prediction lies outside {MIN_STARS} to {MAX_STARS}",
        "at most",
        measure,
    )


def floors(metrics: Metrics, settings: GateSettings) -> Iterator[RuleResult]:
    """What every release must be: better than simple answers, with confidence."""
    yield hold(
        "rmse_against_bias",
        "RMSE less that of user and movie biases, upper end of its confidence interval",
        "below",
        lambda: (interval(metrics, RMSE_OVER_BIAS)[1], settings.max_rmse_over_bias),
    )
    yield hold(
        "ndcg_against_popularity",
        "NDCG@10 less that of the most popular movies, lower end of its confidence interval",
        "above",
        lambda: (interval(metrics, NDCG_OVER_POPULARITY)[0], settings.min_ndcg_over_popularity),
    )
    yield hold(
        "coverage_floor",
        "share of movies recommended to anyone",
        "at least",
        lambda: (number(metrics, "model", "coverage"), settings.min_coverage),
    )


def leaks(metrics: Metrics, settings: GateSettings) -> Iterator[RuleResult]:
    """What is too good to be true: the holdout was seen in training."""
    yield hold(
        "rmse_too_good",
        "RMSE, which a model that has seen the holdout (a leak) would bring under",
        "at least",
        lambda: (
            number(metrics, "model", "rmse"),
            settings.min_rmse_share_of_bias * number(metrics, "baselines", "bias", "rmse"),
        ),
    )
    yield hold(
        "ndcg_too_good",
        "NDCG@10, which recommendations that know the holdout (a leak) would bring over",
        "at most",
        lambda: (number(metrics, "model", "ndcg@10"), settings.max_ndcg),
    )
    if inner(metrics, "serving") is None:
        return

    def shift() -> float:
        value = inner(metrics, "serving", "shift_rmse")
        if not is_finite(value):
            raise NoNumberError(f"serving.shift_rmse is {str(value)[:40]}")
        return float(value)

    yield hold(
        "served_model_learned",
        "stars between served and evaluated predictions; none means that the evaluated model "
        "knew the holdout (a leak), or that the served one does not",
        "at least",
        lambda: (shift(), settings.min_serving_shift),
    )
    yield hold(
        "served_model_is_the_evaluated",
        "stars between served and evaluated predictions (RMS)",
        "at most",
        lambda: (shift(), settings.max_serving_shift),
    )


def movie_vectors(metrics: Metrics, settings: GateSettings) -> RuleResult | None:
    """Movie vectors find liked movies about as well as popularity does.

    A list of alike movies need not beat the list of popular ones; vectors that were shuffled,
    or are noise, find almost nothing. None: not measured, or for too few users to say.
    """
    quality = metrics.get("movie_vectors")
    asked = inner(quality, "asked") if isinstance(quality, Mapping) else None
    if not isinstance(asked, int) or asked < settings.min_slice_users:
        return None
    found = inner(metrics, "movie_vectors", "found")
    return hold(
        "movie_vectors_against_popularity",
        "share of held-out liked movies found among neighbours, against the most popular movies",
        "at least",
        lambda: (
            number(found, "movie_vectors", "hit_rate"),
            number(found, "popularity", "hit_rate") * settings.min_vector_hit_share,
        ),
    )


def drift(metrics: Metrics) -> RuleResult | None:
    """How far the dataset moved from the champion's: shown, not judged; None: not measured."""
    measures = metrics.get("drift")
    if not isinstance(measures, Mapping):
        return None
    found = {
        str(name): float(value)
        for name, value in measures.items()
        if str(name).startswith("psi_") and is_finite(value)
    }
    if not found:
        return None
    most = max(found, key=lambda name: found[name])
    return hold(
        "drift",
        f"drift from the champion's dataset, largest population stability index ({most[:40]})",
        "at most",
        lambda: (found[most], ANOTHER_POPULATION),
        binding=False,
    )
