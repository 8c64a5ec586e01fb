"""The trainer's log: lines on stdout, and a copy to be stored beside the release."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class KeptLog:
    """What was logged so far."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)

    def text(self) -> str:
        """All lines."""
        return self._stream.getvalue()


@contextmanager
def keep_log() -> Iterator[KeptLog]:
    """Sends the trainer's log to stdout and keeps it, until the end of the block."""
    kept = KeptLog()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    logger = logging.getLogger("trainer")
    handlers: list[logging.Handler] = [kept.handler, logging.StreamHandler(sys.stdout)]
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    try:
        yield kept
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True
