"""Charts of the release report: static SVG whose colors are the page's CSS variables.

matplotlib draws with placeholder colors, which are replaced by ``var(--name)``, so that one drawing
works in light mode, in dark mode and in print. Text stays text: it can be searched, read aloud and
scaled.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recsys.contract import RatingScale

# Placeholder colors that no other part of a drawing uses.
_INK: Final = "#010203"
_MUTED: Final = "#010204"
_GRID: Final = "#010205"
CANDIDATE: Final = "#010206"
CHAMPION: Final = "#010207"
BASELINE: Final = "#010208"
OTHER: Final = "#010209"
_VARIABLES: Final = {
    _INK: "ink",
    _MUTED: "muted",
    _GRID: "grid",
    CANDIDATE: "candidate",
    CHAMPION: "champion",
    BASELINE: "baseline",
    OTHER: "other",
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
    "text.parse_math": False,  # a dollar sign in a name is not math
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}
_WIDTH: Final = 4.6
"""Inches: about the width of a phone, so that text stays readable."""

_TOP: Final = 0.1
_TICKS: Final = 0.3
"""Inches for the labels of ticks below a plot; names of axes and legends take as much again."""
_NAMED: Final = 0.48
_CHARACTER: Final = 0.064
"""Inches of a character in the labels of ticks; wide enough for the usual fonts of browsers."""
_MAX_LABEL_CHARACTERS: Final = 36
"""Characters in all labels of an axis; longer labels are rotated so that they do not overlap."""


@dataclass(frozen=True)
class Mark:
    """A value with an optional confidence interval."""

    value: float
    low: float | None = None
    high: float | None = None


def training_curves(history: Sequence[Mapping[str, Any]], model: str) -> str:
    """Draws the loss, and the RMSE of the validation part if there is one, by epoch."""
    rows = [row for row in history if row["model"] == model]
    epochs = [row["epoch"] for row in rows]
    validated = [row for row in rows if row.get("validation_rmse") is not None]
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(2.4, left=0.62, right=0.68 if validated else 0.12, bottom=_NAMED)
        axes.plot(epochs, [row["loss"] for row in rows], color=CANDIDATE, marker="o", markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        description = f"Loss goes from {rows[0]['loss']:.3f} to {rows[-1]['loss']:.3f}"
        if validated:
            right = axes.twinx()
            right.grid(visible=False)
            right.plot(
                [row["epoch"] for row in validated],
                [row["validation_rmse"] for row in validated],
                color=CHAMPION,
                linestyle="--",
                marker="s",
                markersize=3,
            )
            right.set_ylabel("validation RMSE (dashed)")
            best = min(validated, key=lambda row: row["validation_rmse"])
            description += (
                f"; the best validation RMSE is {best['validation_rmse']:.4f} "
                f"in epoch {best['epoch']}"
            )
        return _svg(
            figure, f"training-{model}", f"Training of the {model} model", description + "."
        )


def comparison(name: str, title: str, marks: Mapping[str, Mark], *, less_is_better: bool) -> str:
    """Draws one metric of the candidate, the champion and the baselines as dots on one scale."""
    labels = list(marks)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.75 + 0.27 * len(labels), left=_width(labels), bottom=_NAMED)
        for place, label in enumerate(labels):
            mark, color = marks[label], _color(label)
            if mark.low is not None and mark.high is not None:
                axes.plot([mark.low, mark.high], [place, place], color=color, linewidth=2.5)
            axes.plot([mark.value], [place], color=color, marker="o", markersize=6)
            axes.annotate(
                f"{mark.value:.3f}",
                (mark.value if mark.high is None else mark.high, place),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.margins(x=0.18, y=0.15)
        axes.set_xlabel("less is better" if less_is_better else "more is better")
        description = "; ".join(f"{label} {mark.value:.4f}" for label, mark in marks.items())
        return _svg(figure, name, title, description + ".")


def differences(name: str, title: str, intervals: Mapping[str, tuple[float, float]]) -> str:
    """Draws confidence intervals of differences around zero."""
    labels = list(intervals)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.75 + 0.3 * len(labels), left=_width(labels))
        axes.axvline(0, color=_INK, linewidth=1)
        for place, label in enumerate(labels):
            low, high = intervals[label]
            axes.plot([low, high], [place, place], color=_color(label), linewidth=4)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.25)
        description = "; ".join(
            f"{label} from {a:.4f} to {b:.4f}" for label, (a, b) in intervals.items()
        )
        return _svg(figure, name, title, description + ".")


def calibration(means: Mapping[float, float], scale: RatingScale) -> str:
    """Draws the mean prediction by rating; the diagonal stands for perfect predictions."""
    unit = " stars" if scale.is_stars else ""
    given = "stars given" if scale.is_stars else "rating given"
    margin = 0.25 * scale.factor
    ends = [scale.min, scale.max]
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.0, left=0.45, bottom=_NAMED)
        axes.plot(ends, ends, color=_MUTED, linestyle=":")
        axes.plot(list(means), list(means.values()), color=CANDIDATE, marker="o", markersize=4)
        axes.set_xlim(scale.min - margin, scale.max + margin)
        axes.set_ylim(scale.min - margin, scale.max + margin)
        axes.set_xlabel(given)
        axes.set_ylabel("mean prediction")
        description = "; ".join(f"{rating:g}{unit}: {mean:.2f}" for rating, mean in means.items())
        return _svg(figure, "calibration", f"Mean prediction by {given}", description + ".")


def histogram(name: str, title: str, counts: Mapping[str, int], unit: str) -> str:
    """Draws counts as bars."""
    rotated = sum(map(len, counts)) > _MAX_LABEL_CHARACTERS
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(
            2.2,
            left=0.3 + _width([f"{max(counts.values(), default=0):,}"]),
            bottom=0.9 * _width(counts) + 0.1 if rotated else _TICKS,
        )
        axes.bar(list(counts), list(counts.values()), color=OTHER, width=0.7)
        axes.grid(visible=False, axis="x")
        if rotated:
            axes.tick_params(axis="x", rotation=60)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        description = "; ".join(f"{label}: {count:,}" for label, count in counts.items())
        return _svg(figure, name, title, description + ".")


def slices(name: str, title: str, parts: Mapping[str, Mapping[str, float | None]]) -> str:
    """Draws one metric by slice, with dots for candidate, champion and baseline."""
    labels = list(parts)
    shapes = {"candidate": "o", "champion": "s"}
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(1.0 + 0.24 * len(labels), left=_width(labels), bottom=2 * _TICKS)
        for who in dict.fromkeys(who for part in parts.values() for who in part):
            values = [(parts[label].get(who), place) for place, label in enumerate(labels)]
            known = [(value, place) for value, place in values if value is not None]
            axes.plot(
                [value for value, _ in known],
                [place for _, place in known],
                linestyle="",
                marker=shapes.get(who, "|"),
                markersize=6 if who in shapes else 9,
                markeredgewidth=1 if who in shapes else 2,
                color=_color(who),
                alpha=0.9,
                label=who,
            )
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.margins(x=0.06, y=0.5 / max(len(labels), 1))
        figure.legend(loc="lower center", ncols=4)
        description = "; ".join(
            f"{label}: " + ", ".join(f"{w} {v:.3f}" for w, v in part.items() if v is not None)
            for label, part in parts.items()
        )
        return _svg(figure, name, title, description + ".")


def _color(label: str) -> str:
    if label.startswith(("candidate", "first")):
        return CANDIDATE
    return CHAMPION if "champion" in label or label == "second" else BASELINE


def _figure(
    height: float, *, left: float, right: float = 0.12, bottom: float = _TICKS
) -> tuple[Figure, Axes]:
    """Makes a figure with one plot.

    Margins are given instead of measured, because matplotlib's layout engines take longer than all
    the drawing, and the page uses another font than they measure.

    Args:
        height: inches.
        left: margin in inches for the labels of the vertical axis; likewise the others.
        right: where a second axis has its labels.
        bottom: for the labels of the horizontal axis.
    """
    figure = Figure(figsize=(_WIDTH, height))
    figure.subplots_adjust(
        left=left / _WIDTH,
        right=1 - right / _WIDTH,
        bottom=min(bottom / height, 0.7),
        top=1 - _TOP / height,
    )
    return figure, figure.add_subplot()


def _width(labels: Iterable[str]) -> float:
    """Returns the width of the widest label of an axis in inches, at most half of the chart's."""
    return min(_CHARACTER * max(map(len, labels), default=0) + 0.12, _WIDTH / 2)


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Converts a figure to an ``<svg>`` element with a description for screen readers."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    # Ids must be unique on the page; most are never referenced.
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    _, opening, rest = re.split(r"(<svg[^>]*>)", svg, maxsplit=1)
    box = re.search(r'viewBox="[^"]*"', opening)
    return (
        f'<svg class="chart" role="img" {box[0] if box else ""} '
        f'aria-labelledby="{name}-title {name}-desc" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{rest.strip()}'
    )
