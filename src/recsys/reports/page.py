"""The release report: one self-contained HTML page about a release.

`render_report` is a pure function; sections without data are left out. The page loads nothing and
runs no script. It supports light and dark mode and printing, and describes each chart in text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from recsys.contract import ChampionScores, Metrics, Scores, SliceScores
from recsys.gate import Decision
from recsys.reports import facts, holdouts
from recsys.reports.charts import (
    Mark,
    calibration,
    comparison,
    differences,
    slices,
    training_curves,
)

_RATING: Final = ("rmse", "mae")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class QueryResult:
    """Results of one query on a release and on the champion before it.

    Attributes:
        subject: the movie or the user that the query is about.
        now: titles, best first.
        before: the champion's results; None if there is no champion.
    """

    subject: str
    now: tuple[str, ...]
    before: tuple[str, ...] | None = None

    def changes(self) -> dict[str, Any]:
        """Returns both lists; each title comes with whether the other list lacks it."""
        before = self.before
        return {
            "subject": self.subject,
            "now": [(title, before is not None and title not in before) for title in self.now],
            "before": None if before is None else [(t, t not in self.now) for t in before],
        }


def render_report(
    *,
    metrics: Metrics,
    release_id: str | None = None,
    history: Json | Sequence[Json] | None = None,
    decision: Decision | None = None,
    lineage: Json | None = None,
    stats: Json | None = None,
    drift: Json | None = None,
    movie_vectors: Json | None = None,
    diff: Json | None = None,
    neighbors: Sequence[QueryResult] = (),
    recommendations: Sequence[QueryResult] = (),
    made_at: datetime | None = None,
) -> str:
    """Renders the report as one HTML document.

    Args:
        metrics: the metrics of the release.
        release_id: None for a local training, which makes no release.
        history: ``training_history.json``: epochs, or epochs by fit.
        decision: the gate's decision; None if there is none.
        lineage: lineage of the manifest, or ``lineage.json``; further values may be added.
        stats: ``stats.json`` of the features.
        drift: drift measures by name.
        movie_vectors: facts of the table of movie vectors, ``quality`` among them.
        diff: the stored result of `recsys.releases.compare_releases`.
        neighbors: movies similar to well-known movies.
        recommendations: recommendations for sentinel users.
        made_at: time of the report; now if None.
    """
    made_at = made_at or datetime.now(UTC)
    title = f"Release {release_id}" if release_id else "Training report"
    charts = _charts(metrics, history)
    page: dict[str, Any] = {
        "title": title,
        "subtitle": facts.subtitle(metrics, lineage),
        "decision": decision.model_dump() if decision else None,
        "tiles": _tiles(metrics),
        "metrics_note": _metrics_note(metrics),
        "metric_table": _metric_table(metrics),
        "charts": charts,
        "holdout_rows": holdouts.rows(metrics),
        "slice_rows": list(_slice_rows(metrics)),
        "movie_vectors": facts.vector_facts(movie_vectors),
        "neighbors": [one.changes() for one in neighbors],
        "recommendations": [one.changes() for one in recommendations],
        "overlap": {
            "neighbors": (diff or {}).get("neighbour_overlap"),
            "recommendations": (diff or {}).get("recommendation_overlap"),
            "movies": (diff or {}).get("sentinel_movies"),
            "users": (diff or {}).get("sentinel_users"),
        },
        "data": facts.data(stats),
        "drift": facts.pairs(drift),
        "lineage": facts.lineage_facts(lineage),
        "footer": f"Written {made_at:%Y-%m-%d %H:%M} UTC. This file is self-contained.",
    }
    page["contents"] = [
        (anchor, name)
        for anchor, name, present in (
            ("summary", "Summary", True),
            ("gate", "Gate", decision),
            ("metrics", "Metrics", True),
            ("holdouts", "Holdouts", page["holdout_rows"]),
            ("training", "Training", charts["training"]),
            ("slices", "Slices", charts["slices"]),
            ("vectors", "Movie vectors", page["movie_vectors"]),
            ("neighbors", "Similar movies", neighbors),
            ("recommendations", "Recommendations", recommendations),
            ("data", "Data", page["data"]),
            ("lineage", "Lineage", page["lineage"]),
        )
        if present
    ]
    environment = Environment(
        loader=PackageLoader("recsys.reports"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page)


def _charts(metrics: Metrics, history: Json | Sequence[Json] | None) -> dict[str, Any]:
    # Stars that no user gave on the holdout have no mean prediction.
    means = {
        row.stars: row.mean_prediction
        for row in metrics.calibration or ()
        if row.stars is not None and row.mean_prediction is not None
    }
    return {
        "rmse": _comparison(metrics, "rmse", "RMSE", less_is_better=True),
        "ndcg": _comparison(metrics, "ndcg@10", "NDCG@10", less_is_better=False),
        "rmse_differences": _differences(metrics, "rmse"),
        "ndcg_differences": _differences(metrics, "ndcg@10"),
        "calibration": _markup(calibration(means)) if means else None,
        "training": list(_training(history)),
        "slices": list(_slice_charts(metrics)),
    }


def _comparison(
    metrics: Metrics, metric: str, title: str, *, less_is_better: bool
) -> Markup | None:
    own = metrics.model.value(metric)
    if own is None:
        return None
    intervals = (metrics.confidence.model if metrics.confidence else None) or {}
    low, high = intervals.get(metric) or (None, None)
    marks = {"candidate": Mark(own, low, high)}
    champion = metrics.champion.value(metric) if metrics.champion else None
    if champion is not None:
        marks["champion"] = Mark(champion)
    for baseline, scores in metrics.baselines.by_name().items():
        value = scores.value(metric)
        if value is not None:
            marks[baseline.replace("_", " ")] = Mark(value)
    name = metric.partition("@")[0]
    return _markup(comparison(f"compare-{name}", title, marks, less_is_better=less_is_better))


def _differences(metrics: Metrics, metric: str) -> Markup | None:
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
    return _markup(differences(f"difference-{name}", title, shown))


def _training(history: Json | Sequence[Json] | None) -> Iterator[tuple[Markup, str]]:
    epochs = history.get("evaluated", ()) if isinstance(history, Mapping) else history or ()
    names = {
        "rating": "Rating model: loss (left) and validation RMSE",
        "ranking": "Towers: cross entropy (left)",
    }
    for model in dict.fromkeys(str(row["model"]) for row in epochs):
        chart = training_curves(epochs, model)
        yield _markup(chart), f"{names.get(model, model)}, trained on the training part"


def _slice_charts(metrics: Metrics) -> Iterator[tuple[Markup, str]]:
    for dimension, parts in (metrics.slices or {}).items():
        for metric, baseline in (("rmse", "bias"), ("ndcg@10", "popularity")):
            shown = {
                name: {
                    baseline: _reference(part, metric),
                    "champion": part.champion.value(metric) if part.champion else None,
                    "candidate": part.value(metric),
                }
                for name, part in parts.items()
            }
            if not shown:
                continue
            if not any(values["champion"] is not None for values in shown.values()):
                for values in shown.values():
                    del values["champion"]
            by = dimension.replace("_", " ")
            title = f"{metric.upper()} by {by}"
            chart_name = f"slice-{metric.partition('@')[0]}-{dimension}"
            yield _markup(slices(chart_name, title, shown)), title


def _reference(part: SliceScores, metric: str) -> float | None:
    baselines = part.baselines
    return baselines.bias.rmse if metric == "rmse" else baselines.popularity.value(metric)


def _slice_rows(metrics: Metrics) -> Iterator[tuple[Any, ...]]:
    for dimension, parts in (metrics.slices or {}).items():
        for name, part in parts.items():
            champion = part.champion or ChampionScores()
            yield (
                f"{dimension.replace('_', ' ')}: {name}",
                part.rows,
                part.users,
                part.rmse,
                part.baselines.bias.rmse,
                champion.rmse,
                holdouts.change(part, "rmse", "bias"),
                part.ndcg_10,
                part.baselines.popularity.ndcg_10,
                champion.ndcg_10,
                holdouts.change(part, "ndcg@10", "popularity"),
            )


def _tiles(metrics: Metrics) -> list[dict[str, str]]:
    baselines = metrics.baselines
    tiles = []
    for name, metric, baseline, scores in (
        ("RMSE", "rmse", "bias", baselines.bias),
        ("NDCG@10", "ndcg@10", "popularity", baselines.popularity),
        ("Recall@20", "recall@20", "popularity", baselines.popularity),
        ("Coverage", "coverage", "popularity", baselines.popularity),
    ):
        value, reference = metrics.model.value(metric), scores.value(metric)
        if value is not None:
            note = f"{value / reference - 1:+.1%} against {baseline}" if reference else ""
            tiles.append({"name": name, "value": f"{value:.4f}", "note": note})
    return tiles


def _metrics_note(metrics: Metrics) -> str:
    holdout, champion, confidence = metrics.holdout, metrics.champion, metrics.confidence
    note = f"On {holdout.rows or 0:,} held-out ratings of {holdout.users or 0:,} users."
    if champion:
        note += (
            f" Champion {champion.release_id} was evaluated on {champion.rows or 0:,} of them, "
            "which it was not trained on; 'candidate, same pairs' uses the same ratings."
        )
    if confidence and confidence.level is not None:
        note += (
            f" Intervals: {confidence.level:.0%}, bootstrap over users, "
            f"{confidence.resamples or 0:,} resamples."
        )
    return note


def _metric_table(metrics: Metrics) -> dict[str, Any]:
    columns: dict[str, Scores] = {"candidate": metrics.model}
    if metrics.champion:
        columns["candidate, same pairs"] = metrics.champion.candidate
        columns["champion"] = metrics.champion
    for name, scores in metrics.baselines.by_name().items():
        columns[name.replace("_", " ")] = scores
    names = list(dict.fromkeys((*_RATING, *metrics.model.values())))
    return {
        "columns": list(columns),
        "rows": [
            {"name": name, "cells": [scores.value(name) for scores in columns.values()]}
            for name in names
        ],
    }


def _markup(svg: str) -> Markup:
    # Drawn by recsys.reports.charts, which escapes all outside text.
    return Markup(svg)  # noqa: S704
