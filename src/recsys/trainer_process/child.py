"""Child processes: their output is read line by line, and they do not outlive this process."""

from __future__ import annotations

import codecs
import io
import os
import select
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from recsys.errors import StoppedBySignal, printable

_TAIL_LINES: Final = 20
_READ_BYTES: Final = 1 << 16
GRACE_S: Final = 20
# A person who pressed Ctrl-C waits.
_STOP_S: Final = 2
# The trainer must not outlive the task that started it, even if the task is killed by SIGKILL.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(143)
os.execv(sys.argv[2], sys.argv[2:])
"""


def bound_to_parent(command: Sequence[str]) -> list[str]:
    """Returns a command that runs this one, and gets SIGTERM when this process has died."""
    return [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def run_child(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
) -> tuple[int, deque[str]]:
    """Runs a command and waits for it; it and its children do not outlive this process.

    Args:
        command: program and arguments; must not contain user input.
        folder: working directory.
        environment: the complete environment.
        on_line: called with each line that the command prints.

    Returns:
        The exit code (negative: the number of the signal), and the last lines.
    """
    process = subprocess.Popen(  # noqa: S603  the command contains no user input
        bound_to_parent(command),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    grace_s: float = GRACE_S
    try:
        for line in lines_of(process.stdout) if process.stdout else ():
            # What a program prints is data: it must not move a cursor or set a link in a log.
            text = printable(line.rstrip(), keep="\t")
            tail.append(text)
            on_line(text)
        return process.wait(), tail
    except StoppedBySignal:
        grace_s = _STOP_S
        raise
    finally:
        _end(process, grace_s)


def lines_of(pipe: IO[bytes]) -> Iterator[str]:
    """Yields the lines that a process prints; a signal is handled while none comes.

    Once polars is imported, the kernel restarts a read that SIGINT interrupted (SA_RESTART of the
    handler that polars installs), so that Python would handle Ctrl-C after the next line. A poll is
    never restarted.
    """
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    rest = ""
    while True:
        waiting.poll()
        data = os.read(pipe.fileno(), _READ_BYTES)
        *lines, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        yield from lines
        if not data:
            if rest:
                yield rest
            return


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ends the process group if it still runs: SIGTERM first, SIGKILL after the grace period."""
    if process.poll() is not None:
        return
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(wait_s)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
