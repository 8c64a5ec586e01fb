"""Runs one stage in its own process, to measure its time and memory separately."""

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
    """A stage of a benchmark failed."""


@dataclass(frozen=True)
class Measured:
    """Time and memory of a stage.

    Attributes:
        wall_s: wall seconds of the work, without starting Python and imports.
        cpu_s: CPU seconds of the process and, if the stage uses it, of the database server.
        peak_rss_mb: peak memory of the process (10^6 bytes), including Python and imports.
        import_rss_mb: memory after imports, before the work.
        server_peak_mb: peak memory of the database server; None if the stage does not use it.
        facts: facts returned by the stage.
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
        name: name of the function, which takes the arguments by name and returns facts.
        arguments: JSON values; passed on standard input, because they may contain secrets.
        server: process id of the database server, if the stage uses it.
        module: name of the module.

    Raises:
        BenchmarkError: the process failed; the message contains its last line of output.
    """
    watched = _Server(server) if server else None
    with watched or contextlib.nullcontext():
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            [sys.executable, "-P", "-m", "recsys.benchmark.child", module, name],
            input=json.dumps(dict(arguments)),
            text=True,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(
            f"the stage {name} failed",
            found=_last_line(done.stderr) or f"exit code {done.returncode}",
            expected="exit code 0",
            hint="run it again with more free memory or disk, or with fewer --ratings",
        )
    measured = json.loads(done.stdout.splitlines()[-1])
    return Measured(
        wall_s=measured["wall_s"],
        cpu_s=measured["cpu_s"] + (watched.cpu_s if watched else 0.0),
        peak_rss_mb=measured["peak_rss_mb"],
        import_rss_mb=measured["import_rss_mb"],
        server_peak_mb=watched.peak_mb if watched else None,
        facts=measured["facts"],
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


class _Server:
    """Samples the processes of a server; those of PostgreSQL share most of their memory."""

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
        """Returns CPU seconds of all processes; the parent's include those of ended processes."""
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
