"""CPU and memory of groups of processes, sampled while they run, for each step of a run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import psutil

_EVERY_S: Final = 0.2
# On a loaded machine a new process may wait this long for its turn to become another program.
_STARTS_WITHIN_S: Final = 2.0


@dataclass
class Usage:
    """What one group of processes used in one step.

    Attributes:
        cpu_s: CPU seconds, user and system.
        peak_mb: peak memory of the group (10^6 bytes); memory that its processes share counts once.
        peak_process_mb: peak memory of the largest process.
    """

    cpu_s: float = 0.0
    peak_mb: float = 0.0
    peak_process_mb: float = 0.0


@dataclass
class Sampler:
    """Samples all descendants of this process, and assigns what they use to the current step.

    A process that ends between two samples is seen as of the last one, so its last 0.2 seconds are
    missing, and a process that lives for less time may be missed. A copy of its parent counts with
    its memory from its third second on: a new process is one until it becomes another program.

    Attributes:
        roots: processes of servers by the name of their group, with all their descendants.
        name_of: returns the group of another process by its command line.
        usage: what was used, by step and group.
    """

    roots: Mapping[str, int]
    name_of: Callable[[list[str]], str]
    usage: dict[str, dict[str, Usage]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Usage))
    )
    _step: str = ""
    _cpu: dict[tuple[int, float], float] = field(default_factory=dict)
    _names: dict[tuple[int, float], tuple[list[str], str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Samples during a block. What was used before it does not count."""
        with self._lock:
            for process, _, _ in self._processes():
                self._new_cpu(process)
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.begin("")

    def begin(self, step: str) -> None:
        """Ends the current step and begins another; an empty name is for what is between steps."""
        with self._lock:
            self._sample()
            self._step = step

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            with self._lock:
                self._sample()

    def _sample(self) -> None:
        own: dict[str, float] = defaultdict(float)
        shared: dict[str, float] = defaultdict(float)
        for process, name, is_starting in self._processes():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                used = self.usage[self._step][name]
                used.cpu_s += self._new_cpu(process)
                if is_starting:
                    continue
                used.peak_process_mb = max(used.peak_process_mb, memory.rss / 1e6)
                own[name] += (memory.rss - memory.shared) / 1e6
                shared[name] = max(shared[name], memory.shared / 1e6)
        for name, megabytes in own.items():
            used = self.usage[self._step][name]
            used.peak_mb = max(used.peak_mb, megabytes + shared[name])

    def _new_cpu(self, process: psutil.Process) -> float:
        """Returns the CPU seconds that a process used since it was last asked."""
        key = (process.pid, process.create_time())
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total = float(times.user + times.system)
            before, self._cpu[key] = self._cpu.get(key, 0.0), total
            return total - before
        return 0.0

    def _processes(self) -> Iterator[tuple[psutil.Process, str, bool]]:
        """Yields processes, their groups, and whether each is still a copy of its parent."""
        servers = {pid: name for name, pid in self.roots.items()}
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                key = (process.pid, process.create_time())
                # Until it has its own, a new process has command line and memory of its parent.
                command = process.cmdline()
                is_new = time.time() - process.create_time() < _STARTS_WITHIN_S
                parent = process.parent() if is_new else None
                is_starting = parent is not None and parent.cmdline() == command
                if key not in self._names or self._names[key][0] != command:
                    self._names[key] = command, self._group(process, command, servers)
                yield process, self._names[key][1], is_starting

    def _group(
        self, process: psutil.Process, command: list[str], servers: Mapping[int, str]
    ) -> str:
        for each in (process, *process.parents()):
            if each.pid in servers:
                return servers[each.pid]
        return self.name_of(command)
