"""The rules of the gate that need no champion; each compares one value with one limit.

A rule fails if a metric that it needs is missing, not a number, or outside its valid range.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from recsys.contract import Metrics, Scores
from recsys.gate.judged import JudgedMetrics
from recsys.gate.measures import (
    RATING_ERRORS,
    InvalidMetricError,
    RuleResult,
    compare,
    confidence_level,
    in_range,
    interval,
    invalid,
    score,
)
from recsys.gate.settings import GateSettings

RMSE_OVER_BIAS: Final = "rmse - bias"
NDCG_OVER_POPULARITY: Final = "ndcg@10 - popularity"
RMSE_OVER_CHAMPION: Final = "rmse - champion"
NDCG_OVER_CHAMPION: Final = "ndcg@10 - champion"


_RANKING: Final = ("ndcg@10", "recall@10", "recall@20", "mrr", "coverage")


def metrics_are_numbers(metrics: JudgedMetrics) -> RuleResult:
    """The metrics that the rules need must be present, in their valid ranges, and consistent."""
    violations = list(_violations(metrics))
    return RuleResult(
        name="metrics_are_numbers",
        value=len(violations),
        threshold=0,
        passed=not violations,
        reason=", ".join(violations)
        or "all metrics are finite, in their valid ranges, and consistent",
    )


def _violations(metrics: Metrics) -> Iterator[str]:
    for path, scores, names in _required_scores(metrics):
        for name in names:
            try:
                score(scores, name, path)
            except InvalidMetricError as error:
                yield str(error)
    try:
        confidence_level(metrics)
    except InvalidMetricError as error:
        yield str(error)
    baselines = metrics.baselines
    yield from _interval_violations(
        metrics, RMSE_OVER_BIAS, metrics.model.rmse, baselines.bias.rmse
    )
    yield from _interval_violations(
        metrics, NDCG_OVER_POPULARITY, metrics.model.ndcg_10, baselines.popularity.ndcg_10
    )
    if metrics.slices is None:
        yield str(invalid(metrics, "slices", "slices"))


def _required_scores(metrics: Metrics) -> Iterator[tuple[str, Scores, tuple[str, ...]]]:
    baselines = metrics.baselines
    yield "model", metrics.model, (*RATING_ERRORS, *_RANKING)
    yield "baselines.global_mean", baselines.global_mean, RATING_ERRORS
    yield "baselines.movie_mean", baselines.movie_mean, RATING_ERRORS
    yield "baselines.bias", baselines.bias, RATING_ERRORS
    yield "baselines.popularity", baselines.popularity, _RANKING


def _interval_violations(
    metrics: Metrics, difference: str, value: float | None, reference: float | None
) -> Iterator[str]:
    try:
        low, high = interval(metrics, difference)
    except InvalidMetricError as error:
        yield str(error)
        return
    if value is None or reference is None:
        return  # `_required_scores` reports it
    found = value - reference
    # A bootstrap interval may miss the point estimate, but never by more than its own width.
    slack = (high - low) + 1e-6
    if not low - slack <= found <= high + slack:
        yield (
            f"{difference} is {found:.4g} by the metrics, outside its own confidence interval "
            f"[{low:.4g}, {high:.4g}]"
        )


def predictions_are_stars(metrics: JudgedMetrics) -> RuleResult | None:
    """The mean prediction for each rating must be in the scale of the dataset.

    A rating that does not occur in the holdout has no mean. Returns None if the
    calibration was not measured.
    """
    rows, scale = metrics.calibration, metrics.scale
    if not rows and metrics.invalid_value("calibration") is None:
        return None

    def measure() -> tuple[float, float]:
        if rows is None:
            raise invalid(metrics, "calibration", "calibration")
        measured = [row for row in rows if row.rows != 0]
        means = [row.mean_prediction for row in measured if row.mean_prediction is not None]
        if len(means) < len(measured) or not means:
            raise InvalidMetricError("a mean_prediction in calibration is missing or not a number")
        return max(max(scale.min - mean, mean - scale.max, 0.0) for mean in means), 0.0

    return compare(
        "predictions_are_stars",
        f"{_unit(metrics)} by which a mean prediction is outside {scale.min} to {scale.max}",
        "at most",
        measure,
    )


def _unit(metrics: JudgedMetrics) -> str:
    return "stars" if metrics.scale.is_stars else "points"


def floors(metrics: JudgedMetrics, settings: GateSettings) -> Iterator[RuleResult]:
    """Requires every release to be better than the baselines, with confidence."""
    yield compare(
        "rmse_against_bias",
        "RMSE minus that of user and movie biases, upper end of the confidence interval",
        "below",
        lambda: (
            interval(metrics, RMSE_OVER_BIAS)[1],
            settings.max_rmse_over_bias * metrics.scale.factor,
        ),
    )
    yield compare(
        "ndcg_against_popularity",
        "NDCG@10 minus that of the most popular movies, lower end of the confidence interval",
        "above",
        lambda: (interval(metrics, NDCG_OVER_POPULARITY)[0], settings.min_ndcg_over_popularity),
    )

    def coverage() -> tuple[float, float]:
        popular = score(metrics.baselines.popularity, "coverage", "baselines.popularity")
        multiple = settings.min_coverage_over_popularity
        if multiple > 1:
            # The more popularity covers, the fewer movies are left for the excess: 1.5 times 0.9
            # would reject every model of a small catalog.
            multiple = 1 + (multiple - 1) * (1 - popular)
        floor = max(settings.min_coverage, multiple * popular)
        return score(metrics.model, "coverage", "model"), floor

    yield compare(
        "coverage_floor",
        "share of movies that are recommended to any user",
        "at least",
        coverage,
        more=f"; {settings.min_coverage_over_popularity:g} times popularity's",
    )


def leaks(metrics: JudgedMetrics, settings: GateSettings) -> Iterator[RuleResult]:
    """Rejects results that are too good to be true: the model was trained on the holdout."""
    yield compare(
        "rmse_too_good",
        "RMSE; a lower one indicates that the model was trained on the holdout (a leak)",
        "at least",
        lambda: (
            score(metrics.model, "rmse", "model"),
            settings.min_rmse_share_of_bias
            * score(metrics.baselines.bias, "rmse", "baselines.bias"),
        ),
    )
    yield compare(
        "ndcg_too_good",
        "NDCG@10; a higher one indicates that the model was trained on the holdout (a leak)",
        "at most",
        lambda: (score(metrics.model, "ndcg@10", "model"), settings.max_ndcg),
    )
    serving = metrics.serving
    if serving is None:
        return

    def shift() -> float:
        if serving.shift_rmse is None:
            raise invalid(serving, "shift_rmse", "serving.shift_rmse")
        return serving.shift_rmse

    yield compare(
        "served_model_learned",
        f"{_unit(metrics)} between served and evaluated predictions; a smaller difference "
        "indicates that the evaluated model was trained on the holdout (a leak), or that the "
        "served model was not",
        "at least",
        lambda: (shift(), settings.min_serving_shift * metrics.scale.factor),
    )
    yield compare(
        "served_model_is_the_evaluated",
        f"{_unit(metrics)} between served and evaluated predictions (RMS)",
        "at most",
        lambda: (shift(), settings.max_serving_shift * metrics.scale.factor),
    )


def movie_vectors(metrics: JudgedMetrics, settings: GateSettings) -> RuleResult | None:
    """Neighbors of liked movies must contain other liked movies about as often as popular ones do.

    Similar movies need not beat the most popular ones, but shuffled or random vectors find almost
    nothing. Returns None if the quality was not measured, or for too few users.
    """
    quality = metrics.movie_vectors
    if quality is None or quality.asked is None or quality.asked < settings.min_slice_users:
        return None
    vectors, popularity = quality.found.movie_vectors, quality.found.popularity
    path = "movie_vectors.found"
    return compare(
        "movie_vectors_against_popularity",
        "share of held-out liked movies among neighbors, against the most popular movies",
        "at least",
        lambda: (
            in_range(vectors, "hit_rate", vectors.hit_rate, f"{path}.movie_vectors.hit_rate"),
            in_range(popularity, "hit_rate", popularity.hit_rate, f"{path}.popularity.hit_rate")
            * settings.min_vector_hit_share,
        ),
    )
