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

from recsys.gate import Decision, inner
from recsys.reports import facts
from recsys.reports.charts import (
    Mark,
    calibration,
    comparison,
    differences,
    slices,
    training_curves,
)

_RATING: Final = ("rmse", "mae")
_BASELINES: Final = ("global_mean", "movie_mean", "bias", "popularity", "item_knn")
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
    metrics: Json,
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
        metrics: the result of `recsys.evaluation.evaluate`.
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


def _charts(metrics: Json, history: Json | Sequence[Json] | None) -> dict[str, Any]:
    rows = metrics.get("calibration") or []
    return {
        "rmse": _comparison(metrics, "rmse", "RMSE", less_is_better=True),
        "ndcg": _comparison(metrics, "ndcg@10", "NDCG@10", less_is_better=False),
        "rmse_differences": _differences(metrics, "rmse"),
        "ndcg_differences": _differences(metrics, "ndcg@10"),
        "calibration": _markup(calibration(rows)) if rows else None,
        "training": list(_training(history)),
        "slices": list(_slice_charts(metrics)),
    }


def _comparison(metrics: Json, metric: str, title: str, *, less_is_better: bool) -> Markup | None:
    own = inner(metrics, "model", metric)
    if own is None:
        return None
    low, high = inner(metrics, "confidence", "model", metric) or (None, None)
    marks = {"candidate": Mark(own, low, high)}
    champion = inner(metrics, "champion", metric)
    if champion is not None:
        marks["champion"] = Mark(champion)
    for name in _BASELINES:
        value = inner(metrics, "baselines", name, metric)
        if value is not None:
            marks[name.replace("_", " ")] = Mark(value)
    name = metric.partition("@")[0]
    return _markup(comparison(f"compare-{name}", title, marks, less_is_better=less_is_better))


def _differences(metrics: Json, metric: str) -> Markup | None:
    intervals = inner(metrics, "confidence", "differences") or {}
    shown = {
        f"minus {name.removeprefix(f'{metric} - ')}": (ends[0], ends[1])
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


def _slice_charts(metrics: Json) -> Iterator[tuple[Markup, str]]:
    for dimension, parts in (metrics.get("slices") or {}).items():
        for metric, baseline in (("rmse", "bias"), ("ndcg@10", "popularity")):
            shown = {
                str(name): {
                    baseline: inner(part, "baselines", baseline, metric),
                    "champion": inner(part, "champion", metric),
                    "candidate": part.get(metric),
                }
                for name, part in parts.items()
            }
            if not shown:
                continue
            if not any(part["champion"] is not None for part in shown.values()):
                shown = {
                    name: {who: value for who, value in part.items() if who != "champion"}
                    for name, part in shown.items()
                }
            by = dimension.replace("_", " ")
            title = f"{metric.upper()} by {by}"
            name = f"slice-{metric.partition('@')[0]}-{dimension}"
            yield _markup(slices(name, title, shown)), title


def _slice_rows(metrics: Json) -> Iterator[tuple[Any, ...]]:
    for dimension, parts in (metrics.get("slices") or {}).items():
        for name, part in parts.items():
            yield (
                f"{dimension.replace('_', ' ')}: {name}",
                part.get("rows"),
                part.get("users"),
                part.get("rmse"),
                inner(part, "baselines", "bias", "rmse"),
                inner(part, "champion", "rmse"),
                part.get("ndcg@10"),
                inner(part, "baselines", "popularity", "ndcg@10"),
                inner(part, "champion", "ndcg@10"),
            )


def _tiles(metrics: Json) -> list[dict[str, str]]:
    def gain(metric: str, baseline: str) -> str:
        own = inner(metrics, "model", metric)
        other = inner(metrics, "baselines", baseline, metric)
        if own is None or not other:
            return ""
        return f"{own / other - 1:+.1%} against {baseline}"

    shown = [("RMSE", "rmse", "bias"), ("NDCG@10", "ndcg@10", "popularity")]
    shown += [("Recall@20", "recall@20", "popularity"), ("Coverage", "coverage", "popularity")]
    tiles = []
    for name, metric, baseline in shown:
        value = inner(metrics, "model", metric)
        if value is not None:
            note = gain(metric, baseline)
            tiles.append({"name": name, "value": f"{value:.4f}", "note": note})
    return tiles


def _metrics_note(metrics: Json) -> str:
    holdout = metrics.get("holdout") or {}
    note = f"On {holdout.get('rows', 0):,} held-out ratings of {holdout.get('users', 0):,} users."
    champion = metrics.get("champion")
    if champion:
        note += (
            f" Champion {champion['release_id']} was evaluated on {champion['rows']:,} of them, "
            "which it was not trained on; 'candidate, same pairs' uses the same ratings."
        )
    level = inner(metrics, "confidence", "level")
    if level:
        resamples = inner(metrics, "confidence", "resamples")
        note += f" Intervals: {level:.0%}, bootstrap over users, {resamples:,} resamples."
    return note


def _metric_table(metrics: Json) -> dict[str, Any]:
    columns: dict[str, Json] = {"candidate": metrics.get("model") or {}}
    if metrics.get("champion"):
        columns["candidate, same pairs"] = metrics["champion"].get("candidate") or {}
        columns["champion"] = metrics["champion"]
    for name in _BASELINES:
        measured = inner(metrics, "baselines", name)
        if measured:
            columns[name.replace("_", " ")] = measured
    names = list(dict.fromkeys((*_RATING, *columns["candidate"])))
    return {
        "columns": list(columns),
        "rows": [
            {"name": name, "cells": [column.get(name) for column in columns.values()]}
            for name in names
        ],
    }


def _markup(svg: str) -> Markup:
    # Drawn by recsys.reports.charts, which escapes all outside text.
    return Markup(svg)  # noqa: S704
