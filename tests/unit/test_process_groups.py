"""What processes use counts for their group and to the step in which they used it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise

import psutil

from recsys.benchmark.groups import Sampler

WORK = """
import time
data = bytearray(120_000_000)
end = time.process_time() + {seconds}
while time.process_time() < end: pass
print(flush=True)
input()
"""


def work(seconds: float) -> subprocess.Popen[str]:
    """Starts a process that uses 120 MB and so much CPU, and waits until it has."""
    code = WORK.format(seconds=seconds)
    process = subprocess.Popen(  # our own interpreter
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")


def test_a_copy_of_its_parent_counts_with_its_memory_only_when_it_has_lived_for_a_while() -> None:
    ballast = bytearray(b"x" * 200_000_000)
    own = psutil.Process().cmdline()
    sampler = Sampler({}, lambda command: "worker" if command == own else "other")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(0)
    try:
        sampler.begin("new")
        sampler.begin("still new")
        assert [sampler.usage[step]["worker"].peak_process_mb for step in ("", "new")] == [0, 0]
        time.sleep(2.1)
        sampler.begin("old")
        assert sampler.usage["still new"]["worker"].peak_process_mb > len(ballast) / 1e6
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)


def test_usage_counts_for_its_step_and_its_group() -> None:
    server = work(0.6)
    names: list[str] = []

    def name_of(command: list[str]) -> str:
        names.append(next((b for a, b in pairwise(command) if a == "-c"), ""))
        # Servers of other tests may be children of this process, too.
        return "worker" if "bytearray" in names[-1] else "other"

    sampler = Sampler({"server": server.pid}, name_of)
    with sampler.running():
        sampler.begin("first")
        first = work(0.5)
        sampler.begin("second")
        end(first)
        second = work(1.0)
        sampler.begin("third")
        end(second)
    end(server)
    assert any("bytearray" in name for name in names)
    usage = sampler.usage
    assert 0.5 <= usage["first"]["worker"].cpu_s < 0.9
    assert 1.0 <= usage["second"]["worker"].cpu_s < 1.4
    assert usage["third"]["worker"].cpu_s < 0.2
    assert usage["first"]["server"].cpu_s < 0.1, "what it used before is not counted"
    for group in ("worker", "server"):
        assert usage["second"][group].peak_process_mb > 120
        assert usage["second"][group].peak_mb <= usage["second"][group].peak_process_mb * 2
