"""The page of one or two local trainings: one self-contained HTML file with charts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from markupsafe import Markup

from recsys.contract import Metrics
from recsys.experiments import LESS_IS_BETTER, NEITHER_IS_BETTER, ComparedRuns, LocalRun
from recsys.reports.charts import Mark, comparison
from recsys.reports.figures import CaptionedChart, metric_charts
from recsys.reports.page import render_template

_RATING: Final = frozenset({"rmse", "mae"})


def render_runs(first: LocalRun, second: LocalRun | None, compared: ComparedRuns | None) -> str:
    """Returns the page of a run, or of two runs side by side.

    Args:
        first: a run.
        second: the run that it is compared with; None shows the first one alone.
        compared: the comparison of both; None without a second run.
    """
    if second is None or compared is None:
        values = first.metrics.model.values()
        return _render(
            title="Training",
            runs=[("", first)],
            compared=None,
            charts=metric_charts(first.metrics),
            columns=["value", "interval"],
            rows=[
                (name, [_number(value), _interval(_ends(first.metrics).get(name))])
                for name, value in values.items()
            ],
        )
    return _render(
        title="Two trainings side by side",
        runs=[("first", first), ("second", second)],
        compared=compared,
        charts=list(_charts(first, second, compared)),
        columns=["first", "second", "change", "better"],
        rows=[
            (
                name,
                [_number(a), _number(b), "-" if change is None else f"{change:+.2%}", better],
            )
            for name, a, b, change, better in compared.metrics
        ],
    )


def _render(**page: Any) -> str:
    return render_template("experiments.html.j2", page)


def _charts(first: LocalRun, second: LocalRun, compared: ComparedRuns) -> Iterator[CaptionedChart]:
    """Draws each metric that both runs have, with the simplest baseline on the same holdout."""
    for name, a, b, *_ in compared.metrics:
        if a is None or b is None or name in NEITHER_IS_BETTER:
            continue
        ends = compared.intervals.get(name) or (None, None)
        marks = {"first": _mark(a, ends[0]), "second": _mark(b, ends[1])}
        baselines = first.metrics.baselines
        scores = baselines.bias if name in _RATING else baselines.popularity
        level = scores.value(name)
        if compared.same_holdout and level is not None:
            marks["bias model" if name in _RATING else "popularity"] = Mark(level)
        less = name in LESS_IS_BETTER
        caption = f"{name}, {'less' if less else 'more'} is better"
        if any(ends):
            caption += ". Bars are confidence intervals"
        identifier = re.sub(r"\W", "-", name)
        drawn = comparison(f"compare-{identifier}", name, marks, less_is_better=less)
        # The drawing escapes its own texts.
        yield CaptionedChart(Markup(drawn), caption)  # noqa: S704  as in figures.py


def _mark(value: float, ends: tuple[float, float] | None) -> Mark:
    return Mark(value, *ends) if ends else Mark(value)


def _ends(metrics: Metrics) -> dict[str, tuple[float, float]]:
    found = metrics.confidence.model if metrics.confidence else None
    return {name: ends for name, ends in (found or {}).items() if ends}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
