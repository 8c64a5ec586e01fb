"""Ctrl-C and other signals that end a command: one line, everything ended, the usual exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

from recsys.errors import StoppedBySignal

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT_S: Final = 3.5
"""Seconds for an orderly end; after them, or at a second signal, all children are killed."""


def exit_code(number: int) -> int:
    """Returns the exit code of a program that a signal ended, as shells count."""
    return 128 + number


def end_by_signals() -> None:
    """Lets the first signal raise `StoppedBySignal` in the main thread; the second one kills."""
    seen: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            _end_now(number)
        timer = threading.Timer(LIMIT_S, _end_now, (number,))
        timer.daemon = True
        timer.start()
        _say()
        raise StoppedBySignal(number)

    for number in SIGNALS:
        # A program that was started to ignore a signal, as by nohup, goes on ignoring it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _say() -> None:
    """Prints that the command stops, above a table that is being updated."""
    output = sys.modules.get("recsys.cli.output")
    try:
        if output is None:
            print("stopping", file=sys.stderr, flush=True)
        else:
            output.busy_console().print("stopping")
    except Exception:  # the terminal may be gone
        return


def _end_now(number: int) -> None:
    try:
        from recsys.embedded.processes import kill_descendants

        kill_descendants()
    except Exception as error:  # the process must end in any case
        print(f"not all processes could be ended: {error}", file=sys.stderr)
    finally:
        os._exit(exit_code(number))
