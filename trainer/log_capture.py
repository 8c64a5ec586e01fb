"""Logging of the trainer: to stdout, and to memory, so that the log is stored with the release."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class CapturedLog:
    """The log so far, in memory."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)

    def text(self) -> str:
        """Returns all lines."""
        return self._stream.getvalue()


@contextmanager
def capture_log() -> Iterator[CapturedLog]:
    """Logs to stdout and to memory, within this block."""
    captured, stdout = CapturedLog(), logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    captured.handler.setFormatter(formatter)
    # Airflow and every container runtime add the time to a line of stdout themselves.
    stdout.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [captured.handler, stdout]
    loggers = [logging.getLogger(name) for name in ("trainer", "verifier")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield captured
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            for handler in handlers:
                logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True
