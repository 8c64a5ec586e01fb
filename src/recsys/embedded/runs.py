"""Runs a DAG once without a scheduler, in a child process that reports events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.embedded import airflow
from recsys.embedded.home import Home
from recsys.embedded.processes import end_tree

Event = dict[str, Any]
_TAIL_BYTES = 8192


@dataclass
class RunResult:
    """Result of a run.

    Attributes:
        run_id: id of the DAG run; empty if it did not start.
        state: ``success``, ``failed``, or ``crashed`` if the process died.
        reason: reason of the gate's decision, or of data_is_new.
        tasks: last state of each task.
        errors: last error of each failed task.
        seconds: wall time.
        log: file with the output of the process.
    """

    run_id: str = ""
    state: str = "crashed"
    reason: str | None = None
    tasks: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    log: Path = Path()

    @property
    def succeeded(self) -> bool:
        """Whether the run succeeded; a run whose candidate was rejected did."""
        return self.state == "success"

    def take(self, event: Event) -> None:
        """Updates the result from an event."""
        if event["event"] == "end":
            self.run_id, self.state, self.reason = event["run_id"], event["state"], event["reason"]
        elif event["event"] == "task":
            self.tasks[event["task_id"]] = event["state"]
            if event.get("error"):
                self.errors[event["task_id"]] = event["error"]


def run_once(
    home: Home,
    dag_id: str,
    conf: dict[str, Any],
    on_event: Callable[[Event], None] = lambda event: None,
    environment: dict[str, str] | None = None,
) -> RunResult:
    """Runs a DAG once to its end; PostgreSQL and S3 must be running.

    Args:
        home: the folder of the stack.
        dag_id: the DAG.
        conf: values for its Params.
        on_event: called with each event (see ``recsys_dag.run_dag``). If a signal ends the run, its
            processes are ended, too.
        environment: additional environment variables of the process.
    """
    airflow.migrate(home)
    began = time.monotonic()
    folder = home.folder("runs")
    result = RunResult(log=folder / f"{dag_id}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log")
    read_end, write_end = os.pipe()
    with result.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  the command is made by our own code
            [
                # -P: a module in the working directory must not replace one of the same name.
                *(sys.executable, "-P", "-m", "recsys_dag.run_dag", dag_id),
                # On standard input: the source may hold a password, and arguments are public.
                *("--conf", "-", "--events", str(write_end)),
            ],
            env={
                **_inherited(),
                **airflow.no_proxy(),
                **airflow.environment(home),
                **(environment or {}),
            },
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[write_end],
            # Ctrl-C in a terminal is for this process, which ends the run with all its processes.
            start_new_session=True,
        )
    os.close(write_end)
    if process.stdin is not None:
        # A process that died at its start leaves its output in the log.
        with suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(conf).encode())
    try:
        with os.fdopen(read_end, encoding="utf-8") as events:
            for line in events:
                event: Event = json.loads(line)
                result.take(event)
                on_event(event)
        process.wait()
    finally:
        if process.poll() is None:
            end_tree(process.pid)
            process.wait()
    result.seconds = time.monotonic() - began
    if result.state == "crashed":
        result.errors.setdefault("the process", _last_line(home, result.log))
    return result


def _last_line(home: Home, log: Path) -> str:
    """Returns the last line of a log, which names the error of a process that died."""
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
        lines = file.read().decode(errors="replace").split("\n")
    return home.redact(next((line for line in reversed(lines) if line.strip()), "no output"))


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
