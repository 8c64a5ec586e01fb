"""The runner behind `make test` and `make check`."""

from __future__ import annotations

import sys

import pytest

from tests import run_suites
from tests.run_suites import Step, check_lanes, duration, run
from tests.run_suites import test_lanes as lanes_of_make_test


def python(name: str, code: str) -> Step:
    return Step(name, [sys.executable, "-c", code])


def test_every_step_runs_and_a_failure_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    results = run(
        [
            [python("first", "print('to the terminal')")],
            [python("second", "print('captured'); exit(3)"), python("third", "print('also')")],
            [Step("absent", ["/no/such/program"])],
        ]
    )
    assert {result.name: result.exit_code for result in results} == {
        "first": 0,
        "second": 3,
        "third": 0,
        "absent": 1,
    }
    printed = capfd.readouterr().out
    assert "to the terminal" in printed
    assert "===== second\ncaptured\n" in printed
    assert "===== third\nalso\n" in printed


@pytest.mark.parametrize(("code", "expected"), [("exit(0)", 0), ("exit(5)", 1)])
def test_the_exit_code_and_the_total_time(
    code: str,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_suites, "check_lanes", lambda environ: [[python("step", code)]])
    monkeypatch.setattr(sys, "argv", ["run_suites", "check"])
    assert run_suites.main() == expected
    assert capsys.readouterr().out.splitlines()[-1].startswith("make check: 0 min 0")


def test_durations_are_printed_in_minutes_and_seconds() -> None:
    assert [duration(s) for s in (2.4, 842, 3599.6)] == ["0 min 02 s", "14 min 02 s", "60 min 00 s"]


def test_all_suites_and_all_environments_are_covered() -> None:
    suites = [step.command[-1] for lane in lanes_of_make_test({}) for step in lane]
    assert suites == ["tests", "tests/trainer", "tests/site", "tests/contract"]
    flagged = lanes_of_make_test({"PYTEST_FLAGS": "-k 'a or b'", "TEST_PROCESSES": "7"})
    assert all("a or b" in step.command for lane in flagged for step in lane)
    assert "7" in flagged[0][0].command
    names = [step.name for lane in check_lanes({}) for step in lane]
    assert [name for name in names if name.startswith("types")] == [
        "types: pipeline",
        "types: trainer",
        "types: site",
    ]
