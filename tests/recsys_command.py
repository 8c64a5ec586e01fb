"""Runs the command `recsys`: its first call as the installed script, later ones as forks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from tests.forks import recsys_program

RECSYS: Final = Path(sys.executable).with_name("recsys")
_STARTED: Final[set[str]] = set()
_LOCK: Final = threading.Lock()
_PRINT_MODULES: Final = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from recsys.cli import main
main()
"""


def run_recsys(
    arguments: tuple[str, ...],
    env: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs the command and waits for its end.

    Args:
        arguments: its arguments; the first one is the subcommand.
        env: its whole environment.
        stdin: its standard input, as for `subprocess.run`.
        cwd: its working directory; by default that of this process.
    """
    with _LOCK:
        first = arguments[0] not in _STARTED
        _STARTED.add(arguments[0])
    return subprocess.run(
        [RECSYS if first else _program(), *arguments],
        env=dict(env),
        stdin=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@cache
def _program() -> Path:
    return recsys_program(Path(tempfile.mkdtemp(prefix="recsys-program-")))


def loaded_by_recsys(*arguments: str, env: Mapping[str, str] | None = None) -> set[str]:
    """Runs the command in an interpreter of its own; returns the top-level modules it imported."""
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_MODULES, *arguments],
        env=None if env is None else dict(env),
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
