"""The report's charts of metrics and training, each with a caption that says what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from recsys.contract import STARS, Metrics, RatingScale
from recsys.reports.charts import Mark, calibration, comparison, differences, training_curves

Json = Mapping[str, Any]


class CaptionedChart(NamedTuple):
    """A chart and its caption."""

    chart: Markup
    caption: str


def metric_charts(metrics: Metrics) -> list[CaptionedChart]:
    """Returns the charts of RMSE, NDCG@10, their differences, and the calibration."""
    found = (
        _comparison(
            metrics, "rmse", "RMSE", f"RMSE in {rating_unit(rated_scale(metrics))}, less is better"
        ),
        _comparison(
            metrics,
            "ndcg@10",
            "NDCG@10",
            "NDCG@10, more is better; all movies are ranked that the user has not rated",
        ),
        _differences(metrics, "rmse", "left"),
        _differences(metrics, "ndcg@10", "right"),
        _calibration(metrics),
    )
    return [chart for chart in found if chart is not None]


def rated_scale(metrics: Metrics) -> RatingScale:
    """Returns the scale of the ratings: the calibration has an entry for each possible one."""
    ratings = [row.stars for row in metrics.calibration or () if row.stars is not None]
    try:
        return RatingScale(min=min(ratings), max=max(ratings))
    except ValueError:
        # It was not measured, or a trainer wrote something else.
        return STARS


def rating_unit(scale: RatingScale) -> str:
    """Returns the unit of rating errors, in words."""
    return "stars" if scale.is_stars else f"points, on a scale of {scale.min:g} to {scale.max:g}"


def training_charts(history: Json | Sequence[Json] | None) -> list[CaptionedChart]:
    """Returns one chart for each model that was fitted to the training part."""
    return list(_training(history))


def _comparison(metrics: Metrics, metric: str, title: str, caption: str) -> CaptionedChart | None:
    own = metrics.model.value(metric)
    if own is None:
        return None
    intervals = (metrics.confidence.model if metrics.confidence else None) or {}
    low, high = intervals.get(metric) or (None, None)
    marks = {"candidate": Mark(own, low, high)}
    champion = metrics.champion
    other = champion.value(metric) if champion else None
    if champion is not None and other is not None:
        same_pairs = champion.candidate.value(metric)
        if same_pairs is not None:
            marks["candidate, same pairs"] = Mark(same_pairs)
        marks["champion"] = Mark(other)
        caption += ". The champion is compared on the ratings that it was not trained on"
    for baseline, scores in metrics.baselines.by_name().items():
        value = scores.value(metric)
        if value is not None:
            marks[baseline.replace("_", " ")] = Mark(value)
    if low is not None and high is not None:
        caption += f". The bar is the {_level(metrics)}confidence interval of the candidate"
    name = metric.partition("@")[0]
    chart = comparison(f"compare-{name}", title, marks, less_is_better=metric == "rmse")
    return CaptionedChart(_markup(chart), caption)


def _differences(metrics: Metrics, metric: str, better: str) -> CaptionedChart | None:
    intervals = (metrics.confidence.differences if metrics.confidence else None) or {}
    shown = {
        f"minus {name.removeprefix(f'{metric} - ')}": ends
        for name, ends in intervals.items()
        if ends and name.startswith(f"{metric} - ")
    }
    if not shown:
        return None
    name = metric.partition("@")[0]
    title = f"{metric.upper()}: confidence intervals of differences"
    return CaptionedChart(
        _markup(differences(f"difference-{name}", title, shown)),
        f"{metric.upper()} of the candidate minus that of the other: {_level(metrics)}confidence "
        f"interval; {better} of the line at zero the candidate is better",
    )


def _calibration(metrics: Metrics) -> CaptionedChart | None:
    scale = rated_scale(metrics)
    # A rating that no user gave on the holdout has no mean prediction.
    means = {
        row.stars: row.mean_prediction
        for row in metrics.calibration or ()
        if row.stars is not None and row.mean_prediction is not None
    }
    if not means:
        return None
    return CaptionedChart(
        _markup(calibration(means, scale)),
        f"Mean prediction by the {'stars' if scale.is_stars else 'rating'} that users gave; "
        "dotted: predictions equal to the ratings. "
        "A model that predicts the expected value has a flatter line than the dotted one",
    )


def _training(history: Json | Sequence[Json] | None) -> Iterator[CaptionedChart]:
    epochs = history.get("evaluated", ()) if isinstance(history, Mapping) else history or ()
    names = {"rating": "Rating model", "ranking": "Towers"}
    for model in dict.fromkeys(str(row["model"]) for row in epochs):
        validated = any(
            row["model"] == model and row.get("validation_rmse") is not None for row in epochs
        )
        shown = "loss (left axis) and validation RMSE (right axis)" if validated else "loss"
        yield CaptionedChart(
            _markup(training_curves(epochs, model)),
            f"{names.get(model, model)}: {shown} by epoch of the fit to the training part",
        )


def _level(metrics: Metrics) -> str:
    level = metrics.confidence.level if metrics.confidence else None
    return "" if level is None else f"{level:.0%} "


def _markup(svg: str) -> Markup:
    # Drawn by recsys.reports.charts, which escapes all outside text.
    return Markup(svg)  # noqa: S704  matplotlib escapes
