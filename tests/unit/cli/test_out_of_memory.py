"""A command that runs out of memory says so; a traceback would not help."""

from __future__ import annotations

import subprocess
import sys

_ALLOCATES: str = """
from recsys.cli import app as module

module.app = lambda: bytearray(1 << 60)
module.main()
"""


def test_out_of_memory_is_a_temporary_failure_with_advice() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALLOCATES], text=True, capture_output=True, check=False
    )
    assert done.returncode == 75
    assert "memory ran out" in done.stderr
    assert "docs/performance.md" in done.stderr
    assert "Traceback" not in done.stderr
