"""Drives children (child.py) from a test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.services import Services
from tests.chaos import operations

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Ending:
    """How an order ended.

    Attributes:
        steps: (name, time.monotonic()) of every step.
        killed: whether the process died of SIGKILL.
        error: the class of the error that the operation raised, or None.
        text: what the operation returned or its error says; empty if it was killed.
        at: time.monotonic() at the end of the operation.
    """

    steps: list[tuple[str, float]] = field(default_factory=list)
    killed: bool = False
    error: str | None = None
    text: str = ""
    at: float = 0.0

    @property
    def committed(self) -> bool:
        return "switched" in self.times

    @property
    def times(self) -> dict[str, float]:
        return dict(self.steps)


def server_settings(services: Services) -> str:
    """The servers' settings as one line for a child's standard input, never on a command line."""
    s3 = services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    settings = s3.model_dump(mode="json", exclude={"access_key", "secret_key"}) | {
        "access_key": s3.access_key.get_secret_value(),
        "secret_key": s3.secret_key.get_secret_value(),
    }
    return json.dumps({"dsn": services.postgres.dsn.get_secret_value(), "s3": settings})


class Child:
    """One process that carries out orders, one at a time; `use` says where."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ending = Ending()
        self._pid = 0
        self._services: Services | None = None
        self.idle = True

    def use(self, services: Services) -> None:
        """Names the servers of the orders that follow."""
        self._services = services
        self._write(server_settings(services))
        assert self._read() == {"ready": True}

    def run(self, operation: str, release_id: str | None = None, **doom: Any) -> Ending:
        """Carries out an order to its end, whatever that is."""
        self.start(operation, release_id, **doom)
        return self.finish()

    def start(
        self,
        operation: str,
        release_id: str | None = None,
        *,
        kill_step: int = 0,
        kill_call: int = 0,
        pause_step: str = "",
        pause_call: str = "",
        lock_wait_s: float = 10.0,
        idle_timeout: str = "",
    ) -> None:
        """Gives an order; `finish` or `reach` must follow.

        A release that shall become champion is accepted first, against the champion of this moment.
        """
        assert self._services is not None, "use() comes first"
        operations.decide(self._services, operation, release_id)
        order = {
            "operation": operation,
            "release_id": release_id,
            "kill_step": kill_step,
            "kill_call": kill_call,
            "pause_step": pause_step,
            "pause_call": pause_call,
            "lock_wait_s": lock_wait_s,
            "idle_timeout": idle_timeout,
        }
        self._ending, self._pid = Ending(), 0
        self.idle = False
        self._write(json.dumps(order))

    def reach(self, step: str) -> None:
        """Returns when the operation has come to a step or statement; it must be paused there."""
        while not (self._ending.steps and self._ending.steps[-1][0].startswith(step)):
            assert not self._take(self._read()), f"ended before {step}: {self._ending}"

    def go_on(self) -> None:
        """Gives the word that a paused operation waits for."""
        self._write("go on")

    def kill(self) -> None:
        """Kills the operation that is at work."""
        os.kill(self._pid, signal.SIGKILL)

    def kill_after(self, seconds: float) -> None:
        """Kills the operation in so many seconds, unless it has ended by then."""
        while not self._pid:
            self._take(self._read())
        time.sleep(seconds)
        # Ended and reaped.
        with suppress(ProcessLookupError):
            self.kill()

    def finish(self) -> Ending:
        """Waits for the end."""
        while not self._take(self._read()):
            pass
        return self._ending

    def close(self) -> None:
        """Ends the process, and an operation that is still paused in it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _take(self, event: dict[str, Any]) -> bool:
        if "step" in event:
            self._ending.steps.append((event["step"], event["at"]))
        elif "pid" in event:
            self._pid = event["pid"]
        elif "outcome" in event:
            self._ending.text, self._ending.error = event["outcome"], event["error"]
            self._ending.at = event["at"]
        elif "done" in event:
            self._ending.killed = event["done"] == -signal.SIGKILL
            self.idle = True
            assert event["done"] in (0, -signal.SIGKILL), event
            return True
        return False

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the child is gone"
        event: dict[str, Any] = json.loads(line)
        return event
