"""Ends the servers of a test process that is gone, however it ended.

A test process calls `start`. All of its temporary files are then below one folder, which is in
memory if there is enough of it. A watchdog process waits for the end of the test process, SIGKILL
included. The watchdog kills every process that was started with that folder in its environment,
and removes the folder.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

_POLL_SECONDS: Final = 0.5
_ROUNDS: Final = 10
_PR_SET_PDEATHSIG: Final = 1
# TMPDIR is inherited; `recsys.embedded` sets the other one to the server's home and name.
_VARIABLES: Final = ("TMPDIR", "RECSYS_SERVICE")
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  a folder with a random name is made in it
_LEAST_FREE_BYTES: Final = 8 << 30
_ROOT_VARIABLE: Final = "TESTS_TEMPORARY_ROOT"
_folders: list[Path] = []


def start() -> Path:
    """Starts the watchdog of this process, once, and returns the folder of its temporary files."""
    if _folders:
        return _folders[0]
    if "PYTEST_XDIST_WORKER" in os.environ:
        _end_with_parent()
    # pytest's own folders stay where they are, for a look after a failure.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # A short name, because tests print paths below it in 80 columns.
    root = os.environ.setdefault(_ROOT_VARIABLE, _root())
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir=root))
    # PostgreSQL does not run as root: its account must be able to pass through.
    folder.chmod(0o711)
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "tests.watchdog", str(os.getpid()), str(folder)],
        cwd=Path(__file__).resolve().parents[1],
        # A worker inherits the folder of its controller, whose watchdog must not kill this one.
        env={name: text for name, text in os.environ.items() if name not in _VARIABLES},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # It outlives this process on purpose; without this, Popen's finalizer warns.
    watchdog.returncode = 0
    _folders.append(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    # The watchdog would remove it as well, half a second after this process.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _root() -> str:
    """Returns the folder for temporary folders: in memory if TMPDIR is unset and there is room.

    Servers create, fsync and delete thousands of small files. On a disk, that takes about twice as
    much CPU time, and the tests wait for the disk.
    """
    in_memory = "TMPDIR" not in os.environ and _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    if in_memory and _LEAST_FREE_BYTES < min(
        shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available
    ):
        return str(_MEMORY)
    return os.environ["PYTEST_DEBUG_TEMPROOT"]


def clean_up(folder: Path) -> None:
    """Kills the processes that belong to a folder, and removes it."""
    for _ in range(_ROUNDS):
        # A process may start another one meanwhile.
        processes = [process for process in psutil.process_iter() if _belongs(process, folder)]
        if not processes:
            break
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(processes, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)


def _belongs(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return any(environment.get(name, "").startswith(str(folder)) for name in _VARIABLES)


def _end_with_parent() -> None:
    """Has the kernel kill this process when pytest's controller ends; only on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Waits for the end of a process: ``python -m tests.watchdog PID FOLDER``."""
    pid, folder = int(sys.argv[1]), Path(sys.argv[2])
    while os.getppid() == pid:
        time.sleep(_POLL_SECONDS)
    clean_up(folder)


if __name__ == "__main__":
    main()
