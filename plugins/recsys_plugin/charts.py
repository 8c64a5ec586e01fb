"""Charts of the releases' metrics by date; the table on the page has the numbers."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from recsys.contract import Scores
from recsys.ledger import State
from recsys.monitoring import ReleaseSummary

SHOWN: Final = 30
_BLUE, _GREY, _RED = "#3b82d6", "#8a93a1", "#c8443b"
_METRICS: Final = (
    ("rmse", "bias", "RMSE, lower is better; grey: bias model"),
    ("ndcg@10", "popularity", "NDCG@10, higher is better; grey: most popular movies"),
)


@dataclass(frozen=True)
class Point:
    """A release in a chart.

    Attributes:
        at: when its build began.
        state: its lifecycle state.
        holdout: identifies the holdout of its metrics.
        value: its metric; NaN if it has none.
        reference: the baseline's; NaN if it has none.
    """

    at: datetime
    state: State
    holdout: str
    value: float
    reference: float


@dataclass(frozen=True)
class Chart:
    """A chart with a caption.

    Attributes:
        svg: SVG element.
        caption: description of the chart.
    """

    svg: str
    caption: str


def metric_charts(releases: Sequence[ReleaseSummary]) -> list[Chart]:
    """Draws RMSE and NDCG@10 of the newest complete releases by date.

    Only releases that were measured on the same holdout are joined by a line: the metrics of two
    holdouts cannot be compared.

    Args:
        releases: newest first.

    Returns:
        The charts; none if fewer than two releases have metrics.
    """
    measured = [release for release in reversed(releases) if release.metrics.values()][-SHOWN:]
    if len(measured) < 2:
        return []
    return [
        _draw(tuple(_point(release, metric, baseline) for release in measured), text)
        for metric, baseline, text in _METRICS
    ]


def _point(release: ReleaseSummary, metric: str, baseline: str) -> Point:
    reference = release.baselines.by_name().get(baseline, Scores()).value(metric)
    value = release.metrics.value(metric)
    return Point(
        release.created_at, release.state, release.holdout, _or_nan(value), _or_nan(reference)
    )


# Drawing takes longer than all the rest of the page, and the charts change once a week.
@functools.lru_cache(maxsize=8)
def _draw(releases: tuple[Point, ...], caption: str) -> Chart:
    figure = Figure(figsize=(5, 2.4), layout="constrained")
    axes = figure.subplots()
    for holdout in dict.fromkeys(release.holdout for release in releases):
        same = [release for release in releases if release.holdout == holdout]
        dates = [_date(release) for release in same]
        references = [release.reference for release in same]
        # A dash for each release: without it, the only release of a holdout would have none.
        axes.plot(dates, references, color=_GREY, linestyle="--", linewidth=1, marker="_")
        axes.plot(dates, [release.value for release in same], color=_BLUE, marker="o", markersize=4)
    for release in releases:
        if release.state == State.REJECTED:
            axes.plot(_date(release), release.value, color=_RED, marker="x", markersize=9)
        elif release.state == State.CHAMPION and not math.isnan(release.value):
            _mark_champion(axes, release)
    axes.margins(x=0.08, y=0.2)
    _style(axes)
    joined = "A line joins releases with the same holdout; a red cross was rejected"
    text = f"{caption}. {joined}"
    return Chart(_svg(figure, text), text)


def _mark_champion(axes: Axes, release: Point) -> None:
    axes.plot(_date(release), release.value, color=_BLUE, marker="o", markersize=10)
    axes.annotate(
        "champion",
        (_date(release), release.value),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        color=_BLUE,
    )


def _style(axes: Axes) -> None:
    # matplotlib.dates has no types.
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]  # has no types
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]  # likewise
    axes.xaxis.set_major_formatter(formatter)
    for part in (
        axes.xaxis.label,
        axes.yaxis.label,
        axes.xaxis.get_offset_text(),
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
    ):
        part.set_color(_GREY)
        part.set_fontsize(7)
    axes.tick_params(color=_GREY, labelcolor=_GREY, labelsize=7)
    for spine in axes.spines.values():
        spine.set_color(_GREY)
    axes.spines[["top", "right"]].set_visible(False)


def _date(release: Point) -> float:
    """Returns the days since 1970, as matplotlib counts them."""
    return float(date2num(release.at))  # type: ignore[no-untyped-call]  # has no types


def _or_nan(value: float | None) -> float:
    # The one object: NaN is equal to itself only if it is the same, and a cache compares.
    return math.nan if value is None else value


def _svg(figure: Figure, text: str) -> str:
    """Returns the figure as SVG with a transparent background, for light and dark pages."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    return svg.replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
