"""Runs `make test` or `make check`: steps in parallel lanes, one report, the total time.

``python -m tests.run_suites test|check``. Each environment (pipeline, trainer, site) has tests of
its own. The first lane writes to the terminal; the output of every other step is printed when the
step has ended. Flags for pytest are read from PYTEST_FLAGS, the number of processes of the main
suite from TEST_PROCESSES. The exit code is 1 if any step failed.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

_BIN: Final = ".venv/bin"
_TRAINER: Final = "trainer/.venv/bin/python"
_SITE: Final = "site/.venv/bin/python"
_LOCK: Final = threading.Lock()
_STOP: Final = threading.Event()
_RUNNING: Final[set[subprocess.Popen[bytes]]] = set()


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Result:
    """How a step ended."""

    name: str
    exit_code: int
    seconds: float


Lane = Sequence[Step]


def test_lanes(environ: Mapping[str, str]) -> list[Lane]:
    """Returns the steps of `make test`: the main suite, and beside it all others."""
    flags = shlex.split(environ.get("PYTEST_FLAGS", ""))
    if environ.get("RECSYS_TEST_NO_SKIPS"):
        flags += ["-p", "tests.no_skips"]
    processes = environ.get("TEST_PROCESSES", "3")
    spread = ["--dist", "loadfile", "--no-loadscope-reorder"]
    trainer = [_TRAINER, "-m", "pytest", *flags, "--rootdir", "trainer"]
    return [
        [
            Step(
                "pipeline",
                [f"{_BIN}/python", "-m", "pytest", "-n", processes, *spread, *flags, "tests"],
            )
        ],
        [
            Step("trainer", [*trainer, "tests/trainer"]),
            Step("site", [_SITE, "-m", "pytest", *flags, "--rootdir", "site", "tests/site"]),
            Step("contract", [*trainer, "tests/contract"]),
        ],
    ]


def check_lanes(environ: Mapping[str, str]) -> list[Lane]:
    """Returns the steps of `make check`: unit tests, and beside them the checks of the source."""
    flags = shlex.split(environ.get("PYTEST_FLAGS", ""))
    unit = [f"{_BIN}/python", "-m", "pytest", "-q", "-n", "2", "--hypothesis-profile", "check"]
    mypy, imports = [f"{_BIN}/mypy", "--python-executable"], [f"{_BIN}/lint-imports"]
    return [
        [Step("unit tests", [*unit, *flags, "tests/unit"])],
        [
            Step("format", [f"{_BIN}/ruff", "format", "--check", "--quiet", "."]),
            Step("ruff", [f"{_BIN}/ruff", "check", "--quiet", "."]),
            Step("import rules", [*imports, "--no-logo"]),
            Step(
                "import rules: provider",
                ["env", "PYTHONPATH=provider", *imports, "--config", "provider/pyproject.toml"],
            ),
            Step("types: pipeline", [f"{_BIN}/mypy"]),
            Step("types: trainer", [*mypy, _TRAINER, "trainer", "verifier", "examples"]),
            Step("types: site", [*mypy, _SITE, "site"]),
        ],
    ]


def run(lanes: Sequence[Lane]) -> list[Result]:
    """Runs the lanes at the same time, and the steps of each one after the other."""
    results: list[Result] = []
    threads = [
        threading.Thread(target=_run_lane, args=(lane, number > 0, results))
        for number, lane in enumerate(lanes)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        _STOP.set()
        with _LOCK:
            for process in _RUNNING:
                process.terminate()
        raise
    return results


def duration(seconds: float) -> str:
    """Returns a duration as people write it, such as ``14 min 02 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def _run_lane(lane: Lane, capture: bool, results: list[Result]) -> None:
    for step in lane:
        if _STOP.is_set():
            return
        begin = time.monotonic()
        if capture:
            with tempfile.TemporaryFile() as output:
                exit_code = _call(step, output)
                output.seek(0)
                text = output.read().decode(errors="replace")
            with _LOCK:
                print(f"\n===== {step.name}\n{text}", end="", flush=True)
        else:
            exit_code = _call(step)
        results.append(Result(step.name, exit_code, time.monotonic() - begin))


def _call(step: Step, output: IO[bytes] | None = None) -> int:
    try:
        process = subprocess.Popen(
            list(step.command), stdout=output, stderr=None if output is None else subprocess.STDOUT
        )
    except OSError as error:
        print(f"{step.name}: {error}", flush=True)
        return 1
    with _LOCK:
        _RUNNING.add(process)
    if _STOP.is_set():
        process.terminate()
    exit_code = process.wait()
    with _LOCK:
        _RUNNING.discard(process)
    return exit_code


def main() -> int:
    """Runs the steps of the target on the command line.

    Returns:
        The exit code: 0 if all steps succeeded, else 1.
    """
    target = sys.argv[1]
    # As for Ctrl-C: the steps end, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin = time.monotonic()
    results = run({"test": test_lanes, "check": check_lanes}[target](os.environ))
    print()
    for result in results:
        outcome = "ok" if result.exit_code == 0 else f"FAILED (exit code {result.exit_code})"
        print(f"{result.name:16} {duration(result.seconds):>12}  {outcome}")
    print(f"make {target}: {duration(time.monotonic() - begin)}")
    return int(any(result.exit_code for result in results))


if __name__ == "__main__":
    sys.exit(main())
