"""A process that runs operations and is killed: ``python -m tests.chaos.child``.

Reads orders from standard input, one JSON document a line, and answers on standard output. Each
order is carried out by a fork, so that a kill costs no new import; a fork that is killed is
killed by SIGKILL, with open connections, in the middle of what it did.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from recsys.database import PostgresSettings
from recsys.object_store import S3Settings
from recsys.releases import lock
from recsys.services import Services
from tests.chaos import operations
from tests.chaos.tap import Call, Tap


class Doomed(Tap):
    """Kills its own process at a given step or call, or waits there for a word.

    Attributes:
        kill_step: the how many-th step is the last; 0 for none.
        kill_call: the how many-th call is the last, sent but not answered.
        pause_step: the name of a step to wait at.
        pause_call: the name of a statement or request to wait before.
    """

    kill_step = 0
    kill_call = 0
    pause_step = ""
    pause_call = ""
    calls = 0

    def trace(self, step: str) -> None:
        super().trace(step)
        say({"step": step, "at": time.monotonic()})
        if len(self.steps) == self.kill_step:
            die()
        if step == self.pause_step:
            wait_for_word()

    def sql(self, call: Call, conn: Any, gen: Any, proceed: Callable[[], Any]) -> Any:
        if self._is_last(call):
            next(gen, None)  # Sends, without waiting for the answer.
            die()
        return proceed()

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        if self._is_last(call):
            proceed()
            die()
        return proceed()

    def _is_last(self, call: Call) -> bool:
        if self.pause_call and call.name.startswith(self.pause_call):
            self.pause_call = ""
            say({"step": call.name, "at": time.monotonic()})
            wait_for_word()
        # Repetitions of a statement, as in the probing of an index, are one point.
        self.calls += call.turn == 0 or call.has_transaction_control
        return self.calls == self.kill_call


def say(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_word() -> str:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            os._exit(3)
        line += piece
    return line.decode()


def carry_out(services: Services, order: dict[str, Any]) -> None:
    # Less patience than in production, so that waiting for nothing is short.
    lock.promotion_lock.__wrapped__.__defaults__ = (order["lock_wait_s"],)  # type: ignore[attr-defined]
    if order["idle_timeout"]:
        for name in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
            lock.SESSION_SETTINGS[name] = order["idle_timeout"]
    tap = Doomed(services.store)
    for name in ("kill_step", "kill_call", "pause_step", "pause_call"):
        setattr(tap, name, order[name])
    with tap:
        try:
            outcome = operations.run(services, order["operation"], order["release_id"], tap.trace)
            say({"outcome": repr(outcome), "error": None, "at": time.monotonic()})
        except Exception as error:
            say({"outcome": str(error), "error": type(error).__name__, "at": time.monotonic()})


def main() -> None:
    while True:
        order = json.loads(wait_for_word())
        if "dsn" in order:
            services = Services(
                postgres=PostgresSettings(dsn=SecretStr(order["dsn"])),
                s3=S3Settings(**order["s3"]),
            )
            _ = services.store  # The client is made once; it connects only when a fork uses it.
            say({"ready": True})
            continue
        pid = os.fork()
        if pid == 0:
            carry_out(services, order)
            os._exit(0)
        say({"pid": pid})
        _, status = os.waitpid(pid, 0)
        say({"done": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main()
