"""Charts of the releases' metrics over time; the table on the page has the numbers."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.figure import Figure

from recsys.contract import Scores
from recsys.ledger import State
from recsys.monitoring import ReleaseSummary

SHOWN: Final = 30
_NAMED: Final = 6
_BLUE, _GREY, _RED = "#3b82d6", "#8a93a1", "#c8443b"
_METRICS: Final = (
    ("rmse", "bias", "RMSE in stars, lower is better; dashed: bias model"),
    ("ndcg@10", "popularity", "NDCG@10, higher is better; dashed: most popular movies"),
)


@dataclass(frozen=True)
class Point:
    """A release in a chart.

    Attributes:
        release_id: the release.
        state: its lifecycle state.
        value: its metric; NaN if it has none.
        reference: the baseline's; NaN if it has none.
    """

    release_id: str
    state: State
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
    """Draws RMSE and NDCG@10 of the newest complete releases, oldest first.

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
    return Point(release.release_id, release.state, _or_nan(value), _or_nan(reference))


# Drawing takes longer than all the rest of the page, and the charts change once a week.
@functools.lru_cache(maxsize=8)
def _draw(releases: tuple[Point, ...], caption: str) -> Chart:
    figure = Figure(figsize=(5, 2.4), layout="constrained")
    axes = figure.subplots()
    places = range(len(releases))
    values = [release.value for release in releases]
    references = [release.reference for release in releases]
    axes.plot(places, references, color=_GREY, linestyle="--", linewidth=1)
    axes.plot(places, values, color=_BLUE, marker="o", markersize=4)
    for place, release in enumerate(releases):
        if release.state == State.REJECTED:
            axes.plot(place, values[place], color=_RED, marker="x", markersize=9)
        elif release.state == State.CHAMPION:
            axes.plot(place, values[place], color=_BLUE, marker="o", markersize=10)
    # Only a few labels, each in two lines: thirty release ids would overlap.
    named = places[:: -(-len(releases) // _NAMED)]
    axes.set_xticks(named, [releases[n].release_id.replace("-", "-\n") for n in named])
    for part in (
        axes.xaxis.label,
        axes.yaxis.label,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
    ):
        part.set_color(_GREY)
        part.set_fontsize(7)
    axes.tick_params(color=_GREY)
    for spine in axes.spines.values():
        spine.set_color(_GREY)
    axes.spines[["top", "right"]].set_visible(False)
    text = f"{caption}; a large dot is the champion, a red cross was rejected"
    return Chart(_svg(figure, text), text)


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
