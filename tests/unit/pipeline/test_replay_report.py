"""The journal and the report of a replayed history."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.gate import ForwardMetric, ForwardTest, RuleResult
from recsys.pipeline import ReplayedDump, read_journal, report_replay


def replayed(number: int, **changed: object) -> ReplayedDump:
    """A dump that was accepted; its champion kept its promise."""
    kept = ForwardMetric(
        value=0.85, interval=(0.84, 0.86), promised=0.85, promised_interval=(0.83, 0.87)
    )
    champion = ForwardTest(
        release_id="a", dataset_md5="d", was_champion=True, since=1, metrics={"rmse": kept}
    )
    facts = {
        "number": number,
        "dataset_md5": "d",
        "until": number,
        "ratings": 10,
        "fault": "",
        "release_id": "r",
        "outcome": "accepted",
        "reason": "why",
        "failed_rules": [],
        "champion": "r",
        "forward": [champion],
        "seconds": 2.0,
    }
    return ReplayedDump.model_validate({**facts, **changed})


def other(rmse: tuple[float, float], ndcg: tuple[float, float]) -> ForwardTest:
    return ForwardTest(
        release_id="b",
        dataset_md5="d",
        was_champion=False,
        since=1,
        against_champion={"rmse": rmse, "ndcg@10": ndcg},
    )


def test_a_kill_while_a_line_is_written_loses_that_dump_only(tmp_path: Path) -> None:
    journal = tmp_path / "replayed.jsonl"
    assert read_journal(journal) == []
    lines = [replayed(number).model_dump_json() + "\n" for number in (1, 2, 3)]
    journal.write_text("".join(lines)[:-20])

    assert read_journal(journal) == [replayed(1), replayed(2)]

    with journal.open("a") as file:
        file.write(lines[2])
    assert read_journal(journal) == [replayed(1), replayed(2), replayed(3)]


def test_the_report_counts_outcomes_promises_regret_and_faults() -> None:
    first = replayed(1).forward[0]
    decayed = first.model_copy(update={"decays": ["rmse: worse"]})
    done = [
        replayed(1),
        replayed(2, forward=[first, other((-0.02, 0.0), (0.0, 0.1))]),
        replayed(3, fault="stale data", outcome="rejected", failed_rules=["rmse_against_best"]),
        replayed(4, outcome="rejected", forward=[decayed, other((0.0, 0.2), (-0.1, 0.0))]),
        replayed(5, fault="shuffled ids", outcome="refused", reason="drift", forward=[]),
    ]

    report = report_replay(done)

    assert report.outcomes == {"accepted": 2, "refused": 1, "rejected": 2}
    assert report.sound_rejected == [4]
    assert report.decayed == [4]
    assert report.coverage == report.consistency == {"rmse": (4, 4)}
    assert report.regret.tested == 2
    assert report.regret.rmse == pytest.approx((0.01 + 0) / 2)
    assert report.regret.ndcg == pytest.approx((0.05 + 0) / 2)
    assert [(one.fault, one.outcome, one.failed_rules) for one in report.faults] == [
        ("stale data", "rejected", ["rmse_against_best"]),
        ("shuffled ids", "refused", []),
    ]
    assert report.seconds == 10
    assert report_replay([]).dumps == 0


def rule(name: str, value: float | None, limit: float, *, passed: bool = True) -> RuleResult:
    return RuleResult(name=name, value=value, threshold=limit, passed=passed, reason="why")


def test_the_margins_say_how_near_sound_dumps_and_faults_came_to_each_limit() -> None:
    shown = rule("shown", 1.0, 2.0).model_copy(update={"binding": False})
    done = [
        replayed(1, rules=[rule("rmse", 0.80, 0.90), rule("missing", None, 0.0), shown]),
        replayed(2, rules=[rule("rmse", 0.88, 0.91)]),
        replayed(3, fault="degraded model", rules=[rule("rmse", 0.95, 0.90, passed=False)]),
        replayed(4, rules=[rule("rmse", 0.901, 0.90, passed=False)]),
        replayed(5, outcome="refused"),
    ]

    [margin] = report_replay(done).margins

    assert (margin.rule, margin.sound, margin.rejected) == ("rmse", 3, [4])
    assert margin.nearest == (0.88, 0.91)
    assert margin.planted == {3: (0.95, 0.90)}
    [none_passed] = report_replay(done[3:4]).margins
    assert none_passed.nearest is None
