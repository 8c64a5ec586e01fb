"""Progress logging for long operations."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and the total, which is None if it is unknown."""

_MB: Final = 1_000_000


class LogProgress:
    """A `Progress` that logs one line every few seconds; quick operations log nothing.

    Args:
        verb: first word of each line, e.g. "fetched".
        every: seconds between two lines.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, verb: str, every: float = 3.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._verb = verb
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._logged_at = clock()
        self._logged = 0
        self._added = 0

    def __call__(self, done: int, total: int | None) -> None:
        """Logs a line if it is due, with the speed since the previous line."""
        now = self._clock()
        with self._lock:
            seconds, more = now - self._logged_at, done - self._logged
            if seconds < self._every:
                return
            self._logged_at, self._logged = now, done
        share = f" of {total / _MB:.0f} MB ({100 * done / total:.0f} %)" if total else " MB"
        # A download that started over has fewer bytes than before.
        speed = f", {more / seconds / _MB:.1f} MB/s" if more >= 0 else ", started over"
        log.info("%s %.0f%s%s", self._verb, done / _MB, share, speed)

    def adding(self, total: int) -> Callable[[int], None]:
        """Returns a callback for any thread that takes the bytes done since its last call."""

        def add(more: int) -> None:
            with self._lock:
                self._added += more
                done = self._added
            self(done, total)

        return add
