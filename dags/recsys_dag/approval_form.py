"""The text of the approval form, in Markdown: what a person has to know before they answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from recsys_dag.airflow_address import URL_PREFIX

if TYPE_CHECKING:
    from recsys.monitoring import ApprovalRequest, ComparedMetric

TASK_ID: Final = "approve_release"
_PAGE: Final = f"{URL_PREFIX}/"
_SYNTAX: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~&-])")
"""Characters that Markdown gives a meaning within a line."""
_ADDRESS: Final = re.compile(r"(?=://|@)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where an address is split by an invisible character, because Airflow's page links addresses."""
_NOTHING: Final = "none"
_WORD_JOINER: Final = "\u2060"


def subject(release_id: str) -> str:
    """Returns the headline of the form."""
    return f"Promote release {release_id} to production?"


def body(
    request: ApprovalRequest,
    asked_at: datetime,
    limit: timedelta | None,
    base_path: str = "",
    page_path: str = _PAGE,
) -> str:
    """Renders the form's text.

    Text that comes from a trainer, a dataset or a person is escaped.

    Args:
        request: what the ledger knows about the release.
        asked_at: when the person is asked.
        limit: time to answer; None if there is no limit.
        base_path: path below which Airflow is served; empty if it has a host of its own.
        page_path: path of the recommender's releases page, below Airflow's.
    """
    page = f"{base_path.rstrip('/')}{page_path}"
    report = f"{page.rstrip('/')}/releases/{request.release_id}/report.html"
    return "\n\n".join(
        [
            *_warning(request, asked_at),
            *_gate(request),
            f"{_champion(request)} [Open the report of this release]({report}) or "
            f"[the releases page]({page}).",
            *_metrics(request),
            *_site(request.diff),
            _deadline(asked_at, limit),
        ]
    )


def _warning(request: ApprovalRequest, asked_at: datetime) -> Iterator[str]:
    found = request.rolled_back
    if found is not None:
        yield (
            f"**Warning: this same release was rolled back {duration(asked_at - found.at)} before "
            f"this question**, at {_when(found.at)}, by {plain(found.actor)}: "
            f"{plain(found.reason)}"
        )


def _gate(request: ApprovalRequest) -> Iterator[str]:
    if request.decision is None:
        yield "The ledger has no decision of the gate on this release."
        return
    yield f"The gate accepted the candidate: {plain(request.decision.reason)}."
    failed = [rule for rule in request.decision.rules if not rule.passed]
    if failed:
        yield "Rules that failed without rejecting it:"
        yield "\n".join(f"- {plain(rule.name)}: {plain(rule.reason)}" for rule in failed)


def _champion(request: ApprovalRequest) -> str:
    if request.champion is None:
        return "No release is in production yet."
    since = (
        f", in production since {_when(request.champion_since)}" if request.champion_since else ""
    )
    return f"It would replace release {request.champion}{since}."


def _metrics(request: ApprovalRequest) -> Iterator[str]:
    if not request.metrics:
        yield "The release has no metrics that can be read."
        return
    compared = any(metric.change is not None for metric in request.metrics)
    head = ["metric", "this release"] + ["champion", "change"] * compared + ["baseline"]
    rows = [_row(metric, compared) for metric in request.metrics]
    lines = [head, ["---"] * len(head), *rows]
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if compared:
        yield "Champion and change: on the ratings that neither of the two was trained on."


def _row(metric: ComparedMetric, compared: bool) -> list[str]:
    champion = []
    if compared:
        shown = metric.champion
        champion = [_NOTHING if shown is None else f"{shown:.4f}", _change(metric)]
    baseline = _NOTHING
    if metric.baseline_value is not None:
        baseline = f"{metric.baseline_value:.4f} ({metric.baseline})"
    return [plain(metric.name), f"{metric.value:.4f}", *champion, baseline]


def _change(metric: ComparedMetric) -> str:
    change = metric.change
    if change is None:
        return _NOTHING
    if abs(change) < 0.00005:
        return "unchanged"
    return f"{change:+.2%}, {'better' if (change < 0) == metric.less_is_better else 'worse'}"


def _site(diff: Mapping[str, Any] | None) -> Iterator[str]:
    """What visitors of the site would notice, from the stored comparison of both releases."""
    if not diff:
        return
    yield "**What the site would notice**"
    lines = []
    for name in ("movies", "users"):
        ids = diff.get(name) or {}
        if ids:
            lines.append(
                f"{name}: {ids.get('appeared', 0):,} new, {ids.get('vanished', 0):,} removed, "
                f"{ids.get('after', 0):,} in all"
            )
    for key, what, many in (
        ("neighbour_overlap", "similar movies", f"{diff.get('sentinel_movies')} movies"),
        ("recommendation_overlap", "recommendations", f"{diff.get('sentinel_users')} users"),
    ):
        if diff.get(key) is not None:
            lines.append(f"{diff[key]:.0%} of the 10 {what} stay the same (mean of {many})")
    before, after = diff.get("recommended_before"), diff.get("recommended_after")
    if before is not None and after is not None:
        lines.append(
            f"{after:.1%} of all movies are recommended to these users, {before:.1%} so far"
        )
    yield "\n".join(f"- {line}" for line in lines)


def _deadline(asked_at: datetime, limit: timedelta | None) -> str:
    if limit is None:
        return "There is no time limit. The reason is optional."
    return (
        f"**Answer before {_when(asked_at + limit)}** ({duration(limit)} after the question). "
        "Without an answer the release is rejected and production does not change. "
        "The reason is optional."
    )


def duration(time: timedelta) -> str:
    """Returns a duration in its largest unit: "9 minutes", "3 days"."""
    seconds = max(time.total_seconds(), 0)
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def plain(text: object) -> str:
    """Returns text in one line that Markdown shows as it is."""
    split = _ADDRESS.sub(_WORD_JOINER, " ".join(str(text).split()))
    return _SYNTAX.sub(r"\\\1", split)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
