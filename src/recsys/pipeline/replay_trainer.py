"""The trainer of a replay: trainings and measurements share one process.

Importing TensorFlow takes longer than a small training. So the process is started once; it runs the
same commands on the same inputs as the processes of a run in production.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Final

from recsys.contract import SESSION_END, ExitCode
from recsys.errors import TransientError, printable
from recsys.trainer_process import (
    LocalTrainer,
    bound_to_parent,
    failure,
    inherited_variables,
    lines_of,
)

_ONE_THREAD: Final = dict.fromkeys(
    (
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "POLARS_MAX_THREADS",
    ),
    "1",
)
"""Steps of a small training are too short for several threads, which would wait in loops."""
_TAIL_LINES: Final = 20
_SHUTDOWN_S: Final = 10


@dataclass
class _Child:
    """The process, once it is started."""

    process: subprocess.Popen[bytes] | None = None


@dataclass(frozen=True)
class SessionTrainer(LocalTrainer):
    """A trainer whose commands run one after the other in one process; see `trainer_session`."""

    _child: _Child = field(default_factory=_Child, compare=False, repr=False)

    def run_program(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        options: Sequence[str] = (),
    ) -> None:
        """Runs a command in the process of the session; see `LocalTrainer.run_program`.

        The process ends with the first exception that is not the command's, such as Ctrl-C; the
        next command starts another one.
        """
        code, tail = self._ask(program, arguments, environment, on_line)
        if code != ExitCode.OK:
            raise failure(arguments[0], code, tail)

    def _ask(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> tuple[int, deque[str]]:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        request = {
            "program": program,
            "arguments": list(arguments),
            "environment": dict(environment),
        }
        process, requests, answers = self._running()
        is_answered = False
        try:
            # By stdin, not by its environment: a request has the credentials of S3.
            with suppress(BrokenPipeError):
                requests.write(json.dumps(request).encode() + b"\n")
                requests.flush()
            for line in lines_of(answers):
                before, end, code = line.rstrip().partition(SESSION_END)
                text = printable(before, keep="\t")
                if text or not end:
                    tail.append(text)
                    on_line(text)
                if end:
                    is_answered = True
                    return int(code), tail
            return process.wait(), tail
        finally:
            if not is_answered:
                self.end()

    def _running(self) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
        process = self._child.process
        if process is None or process.poll() is not None:
            self.check_installed()
            process = self._child.process = subprocess.Popen(  # noqa: S603  no user input
                bound_to_parent([str(self.python), "-m", "trainer.session"]),
                cwd=self.root,
                env={**_ONE_THREAD, **inherited_variables(), **self.variables()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if process.stdin is None or process.stdout is None:
            raise TransientError("the trainer's process has no pipes")
        return process, process.stdin, process.stdout

    def end(self) -> None:
        """Kills the process at once: what it has not finished is made again."""
        process, self._child.process = self._child.process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(_SHUTDOWN_S)
        except subprocess.TimeoutExpired as error:
            raise TransientError("the trainer's process does not end") from error
        finally:
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):
                    if stream is not None:
                        stream.close()


@contextmanager
def trainer_session(trainer: LocalTrainer) -> Iterator[SessionTrainer]:
    """Gives a trainer whose process lives as long as this block."""
    made = SessionTrainer(trainer.python, trainer.root)
    try:
        yield made
    finally:
        made.end()
