"""Ctrl-C: one line, every process ended, the exit code that shells expect."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys.cli import interruption
from recsys.errors import StoppedBySignal
from tests.processes import wait_for_end

# A command that starts a child, which starts another one in a session of its own, as the trainer.
COMMAND = """
import os, subprocess, sys
from recsys.cli import app, interruption
import typer

def work() -> None:
    {setup}
    subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True).wait()

app.app = work
app.main()
"""
CHILD = """
import pathlib, subprocess, sys, time, os
{ignore}
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
pathlib.Path({path!r}).write_text(f"{{os.getpid()}} {{other.pid}}")
time.sleep(600)
"""


def started(
    tmp_path: Path, setup: str, ignore: str = ""
) -> tuple[subprocess.Popen[str], list[int]]:
    pids = tmp_path / "pids"
    command = COMMAND.format(child=CHILD.format(path=str(pids), ignore=ignore), setup=setup)
    process = subprocess.Popen(
        [sys.executable, "-c", command],
        stderr=subprocess.PIPE,
        text=True,
        # The tests may run under nohup, and commands respect that a signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    until = time.monotonic() + 120
    while not pids.exists() or not pids.read_text():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    return process, [int(pid) for pid in pids.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_that_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    clean_up = (
        "from recsys.embedded.processes import end_tree\n"
        "    import atexit; atexit.register(lambda: [end_tree(p.pid) for p in\n"
        "        __import__('psutil').Process().children()])"
    )
    process, pids = started(tmp_path, clean_up)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines() == ["stopping"]
    assert wait_for_end(*pids)


def test_a_command_that_hangs_while_it_cleans_up_is_ended_with_all_its_children(
    tmp_path: Path,
) -> None:
    hang = "import atexit, time; atexit.register(time.sleep, 600)"
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    process, pids = started(tmp_path, hang, ignore)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert wait_for_end(*pids)
    assert time.monotonic() - began >= interruption.LIMIT_S


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    hang = "import atexit, time; atexit.register(time.sleep, 600)"
    process, pids = started(tmp_path, hang)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "stopping\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert wait_for_end(*pids)


def test_a_step_does_not_take_a_signal_for_its_own_failure() -> None:
    assert not issubclass(StoppedBySignal, Exception)
