"""One stage in a process of its own, so that its time and memory are its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from recsys.errors import RecsysError

_SAMPLE_EVERY_S: Final = 0.05


class BenchmarkError(RecsysError):
    """A stage of a benchmark did not end well."""


@dataclass(frozen=True)
class Measured:
    """What a stage cost.

    Attributes:
        wall_s: of the work alone; starting Python and importing are left out.
        cpu_s: of its process, and of the database server's where it works for the stage.
        peak_rss_mb: most memory that its process held (10^6 bytes), Python and imports included.
        import_rss_mb: what it held when all was imported and nothing done.
        server_peak_mb: most memory of the database server meanwhile; None: it has no part in it.
        facts: what the stage told of its work.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    import_rss_mb: float
    server_peak_mb: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def run_stage(
    name: str, arguments: Mapping[str, Any], *, server: int | None = None, module: str
) -> Measured:
    """Runs one function of a module of stages in a new process.

    Args:
        name: the function; it takes the arguments by name and returns a mapping of facts.
        arguments: JSON values; they travel on standard input, for they may hold secrets.
        server: process id of the database server that works for the stage.
        module: where the function is.

    Raises:
        BenchmarkError: the process failed; its last words are in the message.
    """
    watched = _Server(server) if server else None
    with watched or contextlib.nullcontext():
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            [sys.executable, "-m", "recsys.benchmark.child", module, name],
            input=json.dumps(dict(arguments)),
            text=True,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(
            f"the stage {name} failed",
            found=_last_words(done.stderr) or f"exit code {done.returncode}",
            expected="exit code 0",
            hint="run it again with more free memory or disk, or with fewer --ratings",
        )
    told = json.loads(done.stdout.splitlines()[-1])
    return Measured(
        wall_s=told["wall_s"],
        cpu_s=told["cpu_s"] + (watched.cpu_s if watched else 0.0),
        peak_rss_mb=told["peak_rss_mb"],
        import_rss_mb=told["import_rss_mb"],
        server_peak_mb=watched.peak_mb if watched else None,
        facts=told["facts"],
    )


def _last_words(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


class _Server:
    """Watches a server's processes: those of PostgreSQL share most of their memory."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mb = 0.0
        self.cpu_s = 0.0

    def __enter__(self) -> _Server:
        self._before = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.cpu_s = self._cpu() - self._before

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_EVERY_S):
            own, shared = 0, 0
            for process in self._processes():
                with contextlib.suppress(psutil.Error):
                    memory = process.memory_info()
                    own += memory.rss - memory.shared
                    shared = max(shared, memory.shared)
            self.peak_mb = max(self.peak_mb, (own + shared) / 1e6)

    def _cpu(self) -> float:
        """Seconds of all processes so far; those that ended are counted by their parent."""
        root = self._root.cpu_times()
        total = root.children_user + root.children_system
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return float(total)

    def _processes(self) -> Iterator[psutil.Process]:
        yield self._root
        with contextlib.suppress(psutil.Error):
            yield from self._root.children(recursive=True)
