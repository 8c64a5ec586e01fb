"""Processes for tests, forked from one that has imported TensorFlow.

Importing TensorFlow takes longer than a training of the tests. `ForkedPython` is used where only
the code after the imports matters; tests of the commands themselves start ``python -m trainer``.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.05
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.trainer.preload"])


class ForkedPython:
    """A process that runs ``python -m MODULE ...`` or ``python -c CODE ...``.

    Attributes:
        pid: its process id.
        output: file that gets its stdout and stderr.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, output: Path
    ) -> None:
        self.output = output
        output.touch()
        self._process = _CONTEXT.Process(
            target=_run, args=(list(command), dict(environment), str(folder), str(output))
        )
        self._process.start()
        pid = self._process.pid
        assert pid is not None
        self.pid = pid

    def text(self) -> str:
        """Returns what it has printed so far."""
        return self.output.read_text(errors="replace")

    def wait_for_output(self, part: str, seconds: float = 300) -> None:
        """Waits until it has printed this; fails if it exits before."""
        end = time.monotonic() + seconds
        while True:
            # Before its output is read: it may print and exit in between.
            has_ended = self.poll() is not None
            if part in self.text():
                return
            assert not has_ended, f"it exited without {part!r}:\n{self.text()}"
            assert time.monotonic() < end, f"no {part!r} within {seconds} s:\n{self.text()}"
            time.sleep(_POLL_S)

    def poll(self) -> int | None:
        """Returns its exit code, negative if a signal ended it, or None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Waits for its end and returns its exit code.

        Raises:
            TimeoutExpired: it still runs.
        """
        self._process.join(seconds)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", seconds)
        return code

    def terminate(self) -> None:
        """Sends SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kills it if it still runs."""
        if self.poll() is None:
            self._process.kill()
            self._process.join()


def _run(command: list[str], environment: dict[str, str], folder: str, output: str) -> None:
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    for stream in (sys.stdout, sys.stderr):
        assert hasattr(stream, "reconfigure")
        stream.reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # As the new interpreter's path would be.
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    option, program, *arguments = command
    sys.argv = [option, *arguments]
    if option == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        assert option == "-c"
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as -c
