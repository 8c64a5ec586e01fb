"""The trainer of a replay: one process for all commands, which an interruption ends at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recsys.errors import StoppedBySignal, TrainingError, TransientError
from recsys.pipeline import SessionTrainer, trainer_session
from recsys.trainer_process import LocalTrainer
from tests.processes import wait_for_end

STAND_IN = """#!{python}
import json, os, signal, sys, time

for line in sys.stdin:
    request = json.loads(line)
    print(os.getpid(), request["program"], *request["arguments"], flush=True)
    print("secret", "SECRET" in os.environ, request["environment"].get("SECRET"), flush=True)
    what = request["arguments"][0]
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        time.sleep(3600)
    print("\\x1eexit code", dict(bad=65, full=75).get(what, 0), flush=True)
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[SessionTrainer]:
    """A session with a stand-in for the trainer, which obeys the first argument."""
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o700)
    with trainer_session(LocalTrainer(python=python, root=tmp_path)) as made:
        yield made


def run(
    session: SessionTrainer, *arguments: str, on_line: Callable[[str], None] = lambda line: None
) -> list[str]:
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        on_line(line)

    session.run_program("trainer", arguments, {"SECRET": "hush"}, note)
    return lines


def process_of(lines: list[str]) -> int:
    return int(lines[0].partition(" ")[0])


def test_commands_share_a_process_and_secrets_are_not_in_its_environment(
    session: SessionTrainer,
) -> None:
    first, second = run(session, "train"), run(session, "verify")
    assert first[0].endswith("trainer train")
    assert first[1] == "secret False hush"
    assert process_of(first) == process_of(second)
    session.end()
    assert wait_for_end(process_of(first))


def test_a_failure_has_the_kind_of_its_exit_code_and_the_session_goes_on(
    session: SessionTrainer,
) -> None:
    before = process_of(run(session, "train"))
    with pytest.raises(TrainingError, match="exit code 65"):
        run(session, "bad")
    with pytest.raises(TransientError, match="exit code 75"):
        run(session, "full")
    assert process_of(run(session, "train")) == before
    with pytest.raises(TransientError, match="killed by signal 9"):
        run(session, "die")
    assert process_of(run(session, "train")) != before


def test_an_interruption_ends_the_process_at_once(session: SessionTrainer) -> None:
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        raise StoppedBySignal(signal.SIGINT)

    with pytest.raises(StoppedBySignal):
        run(session, "wait", on_line=interrupt)
    assert wait_for_end(process_of(lines))
    assert process_of(run(session, "train")) != process_of(lines)
