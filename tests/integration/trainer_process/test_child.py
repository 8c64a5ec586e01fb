"""A child process never outlives the one that started it, and its stdin is empty."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

import pytest

from recsys.errors import StoppedBySignal
from tests.integration.trainer_process.stand_ins import (
    GIVEN,
    SECRETS,
    StandIn,
    run,
    wait_for,
)
from tests.processes import is_running, wait_for_end

SLEEPER = "echo $$; exec sleep 300"


def test_it_ends_when_its_parent_is_killed(stand_in: StandIn) -> None:
    trainer = stand_in(SLEEPER)
    program = (
        "import sys; from pathlib import Path; from recsys.contract import TrainerInput;"
        "from recsys.trainer_process import LocalTrainer; import os;"
        "LocalTrainer(Path(sys.argv[1]), Path(sys.argv[2])).run('train',"
        "TrainerInput.from_environment(os.environ), {}, lambda line: print(line, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, trainer.python, trainer.root],
        env={**os.environ, **GIVEN.to_environment()},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
        parent.wait()
        assert wait_for_end(pid)


class Interrupted(BaseException):
    """Raised while the trainer runs, as when Airflow terminates a task."""


@pytest.mark.parametrize("stubborn", [False, True])
def test_it_ends_when_the_task_is_interrupted(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr("recsys.trainer_process.child.GRACE_S", 0.1 if stubborn else 60)
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise Interrupted

    # An ignored signal stays ignored through exec.
    trainer = stand_in(("trap '' TERM\n" if stubborn else "") + SLEEPER)
    with pytest.raises(Interrupted):
        trainer.run("train", GIVEN, SECRETS, on_line)
    assert not is_running(pids[0])


def test_its_children_end_with_it(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.trainer_process.child.GRACE_S", 60)
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise Interrupted

    trainer = stand_in("sleep 300 & echo $!\necho $$; wait")
    with pytest.raises(Interrupted):
        trainer.run("train", GIVEN, SECRETS, on_line)
    assert wait_for_end(*pids)


def test_its_stdin_is_empty(stand_in: StandIn) -> None:
    assert run(stand_in("read answer; echo read $?")) == ["read 1"]


def test_ctrl_c_is_obeyed_while_the_trainer_prints_nothing(stand_in: StandIn) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    before = signal.signal(signal.SIGINT, stop)
    # As importing polars does after that: the kernel restarts an interrupted read.
    signal.siginterrupt(signal.SIGINT, False)
    lines: list[str] = []
    trainer = stand_in("echo $$; exec sleep 3600")
    interrupt = threading.Thread(
        target=lambda: (wait_for(lambda: bool(lines)), os.kill(os.getpid(), signal.SIGINT))
    )
    try:
        interrupt.start()
        with pytest.raises(StoppedBySignal):
            trainer.run("train", GIVEN, SECRETS, lines.append)
    finally:
        interrupt.join()
        signal.signal(signal.SIGINT, before)
    assert wait_for_end(int(lines[0]))
