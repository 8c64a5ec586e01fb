"""Turns SIGTERM, which Kubernetes sends before SIGKILL, into an exception."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import Final, Self

from recsys.contract import ExitCode

log = logging.getLogger(__name__)

TERMINATED_MESSAGE: Final = "terminated by SIGTERM: this run wrote no manifest"


class Terminated(BaseException):
    """The process received SIGTERM; a BaseException, so that ``except Exception`` lets it pass."""


class Termination:
    """Raises `Terminated` in the main thread on SIGTERM, within this block.

    Attributes:
        raised: whether it was raised; a library may have replaced it by another exception.
    """

    def __init__(self) -> None:
        self.raised = False
        self._deferring = False
        self._ended = Event()
        self._pipe: int | None = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._before)
        self._ended.set()
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._pipe)

    def reinstall(self) -> None:
        """Installs the handler again after a library replaced it."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def force_exit_after(self, grace_s: float) -> None:
        """From now on, exits a while after SIGTERM even if the main thread is blocked.

        Python runs signal handlers between bytecode instructions of the main thread, which executes
        none while it waits in TensorFlow for another worker. In that case a watcher thread ends the
        process without cleanup, but with the exit code of the contract.

        Args:
            grace_s: seconds that the main thread has to handle the signal.
        """
        signals, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        Thread(target=self._watch, args=(signals, grace_s), name="sigterm", daemon=True).start()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Ignores SIGTERM within this block, so that its writes are completed.

        Nothing is raised afterwards: the block contains the last work of the process, which thus
        ends successfully.
        """
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Raise only once: a second signal must not interrupt the cleanup.
        if not (self._deferring or self.raised):
            self.raised = True
            raise Terminated

    def _watch(self, signals: int, grace_s: float) -> None:
        # The pipe delivers the number of each signal, and end-of-file after the block.
        while number := os.read(signals, 1):
            if number[0] != signal.SIGTERM or self._deferring or self._ended.wait(grace_s):
                continue
            log.error("%s; it was blocked waiting for another worker", TERMINATED_MESSAGE)
            log.info("exit code %d (%s)", ExitCode.TERMINATED, ExitCode.TERMINATED.name)
            os._exit(ExitCode.TERMINATED)
        os.close(signals)
