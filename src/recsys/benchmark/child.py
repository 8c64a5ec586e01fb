"""``python -m recsys.benchmark.child MODULE FUNCTION``: runs one stage and measures it."""

from __future__ import annotations

import importlib
import json
import re
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Reads arguments as JSON from standard input; prints measurements as the last line."""
    arguments = json.load(sys.stdin)
    work = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    imported, cpu, started = _peak_mb(), _cpu_s(), time.perf_counter()
    facts = work(**arguments)
    measured = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": _cpu_s() - cpu,
        "peak_rss_mb": _peak_mb(),
        "import_rss_mb": imported,
        "facts": facts,
    }
    print(json.dumps(measured))


def _cpu_s() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _peak_mb() -> float:
    # Not ru_maxrss, which a process inherits from its parent.
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if match is None:
        raise OSError("cannot read the peak memory: /proc/self/status has no VmHWM")
    return int(match[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
