"""Slices in the report: a chart and a table by dimension and metric, the worst slice first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from recsys.contract import Metrics, SliceScores
from recsys.reports.charts import slices

_METRICS: Final = (("rmse", "RMSE", "bias"), ("ndcg@10", "NDCG@10", "popularity"))
_STANDARD_ERRORS: Final = 2
"""Shown beside a change: about half of a 95% confidence interval."""


@dataclass(frozen=True)
class SliceRow:
    """One metric of a slice beside its references.

    Attributes:
        name: the slice.
        rows: its held-out ratings.
        users: its users.
        value: the candidate's metric.
        baseline: the baseline's.
        champion: the champion's, on the pairs that it was not trained on.
        same_pairs: the candidate's on these pairs.
        change: the candidate's change as a share: against the champion, else against the baseline.
        error: twice the standard error of the change; None if the trainer measured none.
    """

    name: str
    rows: int | None
    users: int | None
    value: float | None
    baseline: float | None
    champion: float | None
    same_pairs: float | None
    change: float | None
    error: float | None


@dataclass(frozen=True)
class SliceView:
    """A dimension's slices by one metric.

    Attributes:
        title: metric and dimension.
        baseline: name of the baseline.
        reference: what the change is measured against.
        rows: the slices, the worst change first.
        chart: the same as a drawing.
        caption: what the chart shows, and in which order.
    """

    title: str
    baseline: str
    reference: str
    rows: tuple[SliceRow, ...]
    chart: Markup
    caption: str

    @property
    def has_champion(self) -> bool:
        """Whether a slice was compared with the champion."""
        return any(row.champion is not None for row in self.rows)


def slice_views(metrics: Metrics) -> list[SliceView]:
    """Returns a view of each dimension and metric that has values."""
    return [
        view
        for dimension, parts in (metrics.slices or {}).items()
        for metric, title, baseline in _METRICS
        for view in _view(dimension, parts, metric, title, baseline)
    ]


def _view(
    dimension: str, parts: Mapping[str, SliceScores], metric: str, title: str, baseline: str
) -> Iterator[SliceView]:
    by_champion = any(_champion(part, metric) is not None for part in parts.values())
    reference = "champion" if by_champion else baseline
    rows = [_row(name, part, metric, baseline, reference) for name, part in parts.items()]
    rows = [row for row in rows if row.value is not None]
    if not rows:
        return
    less_is_better = metric == "rmse"
    rows.sort(key=lambda row: _loss(row, less_is_better), reverse=True)
    full_title = f"{title} by {dimension.replace('_', ' ')}"
    drawn = {row.name: _marks(row, baseline, by_champion) for row in rows}
    chart_name = f"slice-{metric.partition('@')[0]}-{dimension}"
    compared = (
        "candidate and champion on the ratings that neither was trained on"
        if by_champion
        else f"candidate and {baseline} on the same ratings"
    )
    yield SliceView(
        title=full_title,
        baseline=baseline,
        reference=reference,
        rows=tuple(rows),
        # Drawn by recsys.reports.charts, which escapes all outside text.
        chart=Markup(slices(chart_name, full_title, drawn)),  # noqa: S704  matplotlib escapes
        caption=f"{full_title}; {compared}. First the slice that is worst against the {reference}; "
        f"{'less' if less_is_better else 'more'} is better",
    )


def _row(name: str, part: SliceScores, metric: str, baseline: str, reference: str) -> SliceRow:
    value = part.value(metric)
    scores = part.baselines.by_name().get(baseline)
    base = scores.value(metric) if scores else None
    champion, same_pairs = _champion(part, metric), None
    if champion is not None and part.champion is not None:
        same_pairs = part.champion.candidate.value(metric)
    own, other = (same_pairs, champion) if reference == "champion" else (value, base)
    change = own / other - 1 if own is not None and other else None
    return SliceRow(
        name=name,
        rows=part.rows,
        users=part.users,
        value=value,
        baseline=base,
        champion=champion,
        same_pairs=same_pairs,
        change=change,
        error=None if change is None else _error(part, f"{metric} / {reference}"),
    )


def _champion(part: SliceScores, metric: str) -> float | None:
    return part.champion.value(metric) if part.champion else None


def _error(part: SliceScores, ratio: str) -> float | None:
    error = (part.standard_errors or {}).get(ratio)
    return None if error is None else _STANDARD_ERRORS * error


def _loss(row: SliceRow, less_is_better: bool) -> float:
    if row.change is None:
        return float("-inf")
    return row.change if less_is_better else -row.change


def _marks(row: SliceRow, baseline: str, by_champion: bool) -> dict[str, float | None]:
    marks = {baseline: row.baseline}
    if by_champion:
        marks["champion"] = row.champion
    own = row.value if row.same_pairs is None else row.same_pairs
    return marks | {"candidate": own}
