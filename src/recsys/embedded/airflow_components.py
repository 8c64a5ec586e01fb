"""Runs Airflow's components as children of one process: ``python -m`` this module.

``airflow standalone`` is not used: its log servers listen on all interfaces, and its components
keep running when it gets SIGTERM.
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
_FORKING_COMPONENTS = frozenset({"scheduler", "dag-processor"})
_POLL_SECONDS = 0.2
_END_SECONDS = 20


def main(components: Sequence[Sequence[str]] = COMPONENTS) -> int:
    """Runs all components until one of them ends or this process gets SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a signal, 1 if a component ended by itself.
    """
    signals: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    signal.signal(signal.SIGTERM, record)
    signal.signal(signal.SIGINT, record)
    children = {
        arguments[0]: subprocess.Popen([sys.executable, "-m", _module(arguments[0]), *arguments])  # noqa: S603 - constants
        for arguments in components
    }
    while not signals:
        ended = [name for name, child in children.items() if child.poll() is not None]
        if ended:
            # All components must stop, so that the next start finds Airflow down and restarts it.
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
    return 0 if signals else 1


def _module(component: str) -> str:
    return "recsys.embedded.preloaded_airflow" if component in _FORKING_COMPONENTS else "airflow"


if __name__ == "__main__":
    sys.exit(main())
