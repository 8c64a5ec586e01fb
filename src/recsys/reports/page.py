"""The release report: one self-contained HTML page about a release.

`render_report` is a pure function; sections without data are left out. The page loads nothing and
runs no script. It supports light and dark mode and printing, and describes each chart in text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from recsys.contract import Metrics, Scores
from recsys.gate import Decision, ForwardTest
from recsys.reports import facts, holdouts
from recsys.reports.figures import metric_charts, rated_scale, training_charts
from recsys.reports.model_card import model_card
from recsys.reports.own_charts import OwnChart
from recsys.reports.slices import slice_views

_RATING: Final = ("rmse", "mae")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class QueryResult:
    """Results of one query on a release and on the champion before it.

    Attributes:
        subject: the movie or the user that the query is about.
        now: titles, best first.
        before: the champion's results; None if there is no champion.
        reasons: for each title of ``now``, that of the user's movie that brought it, or None; empty
            if results have no reasons.
    """

    subject: str
    now: tuple[str, ...]
    before: tuple[str, ...] | None = None
    reasons: tuple[str | None, ...] = ()

    def changes(self) -> dict[str, Any]:
        """Returns both lists; each title comes with whether the other list lacks it.

        Titles of ``now`` come with their reason too.
        """
        before = self.before
        reasons = self.reasons or (None,) * len(self.now)
        return {
            "subject": self.subject,
            "now": [
                (title, before is not None and title not in before, reason)
                for title, reason in zip(self.now, reasons, strict=True)
            ],
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
    forward: Sequence[ForwardTest] = (),
    neighbors: Sequence[QueryResult] = (),
    recommendations: Sequence[QueryResult] = (),
    own_charts: Sequence[OwnChart] = (),
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
        forward: tests of this release, or of others on its dataset, on newer ratings.
        diff: the stored result of `recsys.releases.compare_releases`.
        neighbors: movies similar to well-known movies.
        recommendations: recommendations for sentinel users.
        own_charts: images among the trainer's artifacts.
        made_at: time of the report; now if None.
    """
    made_at = made_at or datetime.now(UTC)
    title = f"Release {release_id}" if release_id else "Training report"
    training, slices = training_charts(history), slice_views(metrics)
    page: dict[str, Any] = {
        "title": title,
        "subtitle": facts.subtitle(metrics, lineage),
        "decision": decision.model_dump() if decision else None,
        "forward": forward,
        "tiles": _tiles(metrics),
        "metrics_note": _metrics_note(metrics),
        "metric_table": _metric_table(metrics),
        "charts": metric_charts(metrics),
        "holdout_rows": holdouts.rows(metrics),
        "training": training,
        "slices": slices,
        "own_charts": own_charts,
        "movie_vectors": facts.movie_vectors(movie_vectors),
        "card": model_card(metrics, release_id, lineage, stats, slices, rated_scale(metrics)),
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
            ("forward", "Promised and realized", forward),
            ("metrics", "Metrics", True),
            ("holdouts", "Holdouts", page["holdout_rows"]),
            ("own-charts", "The trainer's charts", own_charts),
            ("training", "Training", training),
            ("slices", "Slices", slices),
            ("vectors", "Movie vectors", page["movie_vectors"]),
            ("neighbors", "Similar movies", neighbors),
            ("recommendations", "Recommendations", recommendations),
            ("data", "Data", page["data"]),
            ("card", "Model card", True),
            ("lineage", "Lineage", page["lineage"]),
        )
        if present
    ]
    return render_template("report.html.j2", page)


def render_template(name: str, values: Mapping[str, Any]) -> str:
    """Renders one of this package's templates; values are escaped."""
    environment = Environment(
        loader=PackageLoader("recsys.reports"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values)


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
