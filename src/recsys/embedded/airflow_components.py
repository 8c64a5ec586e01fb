"""Runs Airflow's components as children of one process: ``python -m`` this module.

``airflow standalone`` would do, but its log servers listen on every interface, and it leaves its
components behind when it is told to end.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

COMPONENTS: tuple[tuple[str, ...], ...] = (
    ("api-server",),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
)
_POLL_SECONDS = 0.2
_END_SECONDS = 20


def main(components: Sequence[Sequence[str]] = COMPONENTS) -> int:
    """Runs all components until one of them ends or this process is told to.

    Returns:
        The exit code: 0 if told to end, 1 if a component ended by itself.
    """
    told: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGINT, tell)
    children = {
        arguments[0]: subprocess.Popen([sys.executable, "-m", "airflow", *arguments])  # noqa: S603 - constants
        for arguments in components
    }
    while not told:
        ended = [name for name, child in children.items() if child.poll() is not None]
        if ended:
            # A stack that lacks a part must look broken, so that the next start mends it.
            print(f"recsys: {', '.join(ended)} ended; stopping the others", flush=True)
            break
        time.sleep(_POLL_SECONDS)
    for child in children.values():
        child.terminate()
    deadline = time.monotonic() + _END_SECONDS
    for child in children.values():
        try:
            child.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
    return 0 if told else 1


if __name__ == "__main__":
    sys.exit(main())
