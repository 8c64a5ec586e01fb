"""SIGTERM as an exception: Kubernetes asks politely before it kills."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Terminated(BaseException):
    """The process was told to stop; no Exception, so that nothing swallows it on the way."""


class Termination:
    """Within this block SIGTERM raises `Terminated` in the main thread."""

    def __init__(self) -> None:
        self._deferring = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def renew(self) -> None:
        """Handles SIGTERM again after a library took it for itself."""
        signal.signal(signal.SIGTERM, self._on_signal)

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
        if not self._deferring:
            # Once is enough: a second signal must not break the tidying up.
            self._deferring = True
            raise Terminated
