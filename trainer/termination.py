"""SIGTERM as an exception: Kubernetes asks politely before it kills."""

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

TOLD: Final = "told to stop by SIGTERM: no manifest was written by this run"


class Terminated(BaseException):
    """The process was told to stop; no Exception, so that nothing swallows it on the way."""


class Termination:
    """Within this block SIGTERM raises `Terminated` in the main thread.

    Attributes:
        raised: whether it has. Code of a library may have made another exception of it.
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

    def renew(self) -> None:
        """Handles SIGTERM again after a library took it for itself."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def insist(self, patience: float) -> None:
        """From now on SIGTERM ends the process even if the main thread never comes to it.

        Python handles a signal between two of its own instructions, and a thread that waits in
        TensorFlow for another worker comes to none. A thread of its own then ends the process, as
        abruptly as a kill would, but with the exit code of the contract.

        Args:
            patience: seconds that the main thread is given.
        """
        told, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        Thread(target=self._watch, args=(told, patience), name="sigterm", daemon=True).start()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this block SIGTERM is put off: what was begun is finished first.

        A process that was asked to stop in the meantime and has finished all its work ended well,
        so nothing is raised afterwards.
        """
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Once is enough: a second signal must not break the tidying up.
        if not (self._deferring or self.raised):
            self.raised = True
            raise Terminated

    def _watch(self, told: int, patience: float) -> None:
        # What is read is the number of each signal, and nothing once the block is left.
        while number := os.read(told, 1):
            if number[0] != signal.SIGTERM or self._deferring or self._ended.wait(patience):
                continue
            log.error("%s; it waited for another worker", TOLD)
            log.info("exit code %d (%s)", ExitCode.TERMINATED, ExitCode.TERMINATED.name)
            os._exit(ExitCode.TERMINATED)
        os.close(told)
