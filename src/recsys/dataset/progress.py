"""How far something large has come, in lines of the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and, where it is known, the bytes in all."""

_MB: Final = 1_000_000


class LogProgress:
    """A `Progress` that logs at most one line in so many seconds, and nothing for what is quick.

    Args:
        done_is: what the bytes done are, first word of each line: "fetched".
        every: seconds between two lines.
        clock: seconds, never going back.
    """

    def __init__(
        self, done_is: str, every: float = 3.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._done_is = done_is
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at = clock()
        self._said = 0
        self._added = 0

    def __call__(self, done: int, total: int | None) -> None:
        """Logs a line if it is time for one; the speed is that since the line before."""
        now = self._clock()
        with self._lock:
            seconds, since = now - self._said_at, done - self._said
            if seconds < self._every:
                return
            self._said_at, self._said = now, done
        share = f" of {total / _MB:.0f} MB ({100 * done / total:.0f} %)" if total else " MB"
        # A download that began anew has less than before.
        speed = f", {since / seconds / _MB:.1f} MB/s" if since >= 0 else ", begun anew"
        log.info("%s %.0f%s%s", self._done_is, done / _MB, share, speed)

    def adding(self, total: int) -> Callable[[int], None]:
        """The same for a caller, on any thread, that tells how many bytes came since its last."""

        def add(more: int) -> None:
            with self._lock:
                self._added += more
                done = self._added
            self(done, total)

        return add
