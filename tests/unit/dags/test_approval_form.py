"""What the approval form tells a person about the release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.gate import GateSettings, judge
from recsys.ledger import State
from recsys.monitoring import ApprovalRequest, compared_metrics
from recsys.monitoring.approval import Rollback
from recsys_dag.approval_form import body, duration, plain
from tests.metrics_maker import CHAMPION, GOOD, as_judged, scored

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
LIMIT = timedelta(days=3)
DIFF = {
    "movies": {"before": 12, "after": 15, "vanished": 1, "appeared": 4},
    "users": {"before": 5, "after": 1_005, "vanished": 0, "appeared": 1_000},
    "neighbour_overlap": 0.81,
    "recommendation_overlap": 0.5,
    "recommended_before": 0.1,
    "recommended_after": 0.2,
    "sentinel_movies": 11,
    "sentinel_users": 5,
}


def request(**other: Any) -> ApprovalRequest:
    given: dict[str, Any] = {
        "release_id": "01234567-89abcdef",
        "state": State.CANDIDATE,
        "dataset_md5": "d" * 32,
        "champion": CHAMPION["release_id"],
        "champion_since": NOW - timedelta(days=7),
        "decision": judge(as_judged(scored(GOOD)), None, GateSettings()),
        "diff": DIFF,
        "metrics": compared_metrics(as_judged(scored(GOOD))),
        "rolled_back": None,
    }
    return ApprovalRequest(**given | other)


@pytest.mark.parametrize(
    "shown",
    [
        "every binding rule passed",
        "It would replace release 0123abcd-0123abcd, in production since 2026-11-20 18:00 UTC.",
        "(/releases-of/recommender-releases/releases/01234567-89abcdef/report.html)",
        "(/releases-of/recommender-releases/)",
        "movies: 4 new, 1 removed, 15 in all",
        "users: 1,000 new, 0 removed, 1,005 in all",
        "81% of the 10 similar movies stay the same (mean of 11 movies)",
        "50% of the 10 recommendations stay the same (mean of 5 users)",
        "20.0% of all movies are recommended to these users, 10.0% so far",
        "**Answer before 2026-11-30 18:00 UTC** (3 days after the question)",
        "The reason is optional.",
    ],
)
def test_the_form_shows_what_a_person_needs(shown: str) -> None:
    assert shown in body(request(), NOW, LIMIT, "/releases-of/")


def test_metrics_are_compared_on_the_same_pairs() -> None:
    metrics = compared_metrics(as_judged(scored(GOOD)))
    text = body(request(metrics=metrics), NOW, LIMIT)
    [rmse] = [line for line in text.splitlines() if line.startswith("| RMSE")]
    candidate, champion = metrics[0].same_pairs, metrics[0].champion
    assert candidate is not None
    assert champion is not None
    better = "better" if candidate < champion else "worse"
    assert f"| {champion:.4f} | {candidate / champion - 1:+.2%}, {better} | 0.9000 (bias) |" in rmse


def test_without_a_champion_nothing_is_compared() -> None:
    first = request(
        champion=None,
        champion_since=None,
        diff=None,
        metrics=compared_metrics(as_judged(GOOD)),
    )
    text = body(first, NOW, LIMIT)
    assert "No release is in production yet." in text
    assert "| metric | this release | baseline |" in text
    assert "What the site would notice" not in text


def test_a_rollback_of_the_same_release_comes_first() -> None:
    found = Rollback(at=NOW - timedelta(minutes=9), actor="mary", reason="westerns | only")
    text = body(request(rolled_back=found), NOW, LIMIT)
    assert text.startswith(
        "**Warning: this same release was rolled back 9 minutes before this question**, "
        "at 2026-11-27 17:51 UTC, by mary: westerns \\| only"
    )


def test_outside_text_is_no_markup_and_no_link() -> None:
    hostile = (
        "**x** [a](javascript:1)\n# h <b> https://evil.example www.evil.example a@evil.example"
    )
    shown = plain(hostile)
    assert "\n" not in shown
    assert "\\*\\*x\\*\\* \\[a\\]\\(javascript:1\\) \\# h \\<b\\>" in shown
    for address in ("https://", "www.evil", "a@evil"):
        assert address not in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "less than a minute"),
        (60, "1 minute"),
        (540, "9 minutes"),
        (7_200, "2 hours"),
        (90_000, "25 hours"),
        (259_200, "3 days"),
    ],
)
def test_durations_have_the_largest_unit(seconds: int, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text
