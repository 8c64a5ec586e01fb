"""A resumable download to a file, hashed while it streams."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from recsys.dataset.content import is_cut
from recsys.dataset.progress import Progress
from recsys.dataset.sources import Part, Source, unreachable
from recsys.dataset.waiting import asks_for_too_much, pause_s
from recsys.errors import DatasetError, SourceUnreachableError
from recsys.scratch import check_space

if TYPE_CHECKING:
    from recsys.dataset.settings import FetchSettings

log = logging.getLogger(__name__)

_MIN_GAIN: Final = 1 << 20
"""New bytes that make a connection count as progress, if the size of the file is unknown."""
_MIN_SPEED: Final = 1000
"""Bytes per second; a slower server counts as stalled."""


class Download:
    """A download of one file, over as many connections as it takes.

    Args:
        source: the file at its source.
        expected_md5: md5 of the whole file, 32 hex digits; a download with another md5 is not an
            error here.
        file: the destination; its content is overwritten.
        max_bytes: maximum size of the file.
        settings: timeouts and attempts.
        progress: called with the bytes done and the total.

    Attributes:
        size: bytes received.
        resumed: whether the file consists of parts from several connections.
    """

    def __init__(
        self,
        source: Source,
        expected_md5: str,
        file: BinaryIO,
        max_bytes: int,
        settings: FetchSettings,
        progress: Progress,
    ) -> None:
        self._source = source
        self._expected_md5 = expected_md5
        self._file = file
        self._max_bytes = max_bytes
        self._settings = settings
        self._progress = progress
        self._mark: str | None = None
        self._max_size = 0
        self._failed_attempts = 0
        self._start_over()

    @property
    def md5(self) -> str:
        """32 hex digits."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return self._sha256.hexdigest()

    def complete(self) -> None:
        """Downloads the whole file; reconnects after failures.

        A connection counts as a failed attempt unless it added one percent of the file to what
        earlier ones had received. Too many failed attempts in a row end the download.

        Raises:
            SourceUnreachableError: too many attempts failed.
            DatasetError: there is no such file, or it is too large.
            ConfigurationError: access was denied.
            DiskFullError: the file does not fit on the disk.
        """
        for attempt in Retrying(
            retry=retry_if_exception_type(SourceUnreachableError),
            stop=lambda state: (
                self._failed_attempts >= self._settings.attempts or asks_for_too_much(_error(state))
            ),
            wait=lambda state: pause_s(self._settings, self._failed_attempts, _error(state)),
            before_sleep=self._log_retry,
            reraise=True,
        ):
            with attempt:
                self._connect_and_read()
        self._file.flush()

    def _start_over(self) -> None:
        self.size = 0
        self.resumed = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._file.seek(0)
        self._file.truncate()

    def _connect_and_read(self) -> None:
        size_before = self.size
        min_gain = _MIN_GAIN
        try:
            with self._source.open(self.size, self._mark) as part:
                if part.total is not None:
                    min_gain = max(part.total // 100, 1)
                if part.start != self.size:
                    self._start_over()
                self.resumed = part.start > 0
                self._mark = part.mark
                self._check_size(part.total or 0)
                check_space(Path(self._file.name).parent, (part.total or 0) - self.size)
                self._read(part)
        except SourceUnreachableError:
            if self.size == size_before:
                # Resuming added nothing: the next attempt starts at the first byte.
                self._mark = None
            made_progress = self.size >= self._max_size + min_gain
            self._failed_attempts = 0 if made_progress else self._failed_attempts + 1
            self._max_size = max(self._max_size, self.size)
            raise

    def _read(self, part: Part) -> None:
        """Reads the part to its end; raises an error if the server stalls or stops early."""
        window_start, size_then = time.monotonic(), self.size
        for chunk in part.chunks:
            self._add(chunk, part.total)
            seconds = time.monotonic() - window_start
            if seconds > self._settings.read_timeout_s:
                if self.size - size_then < _MIN_SPEED * seconds:
                    raise unreachable(
                        self._source.shown, f"{self.size - size_then} bytes in {seconds:.0f} s"
                    )
                window_start, size_then = time.monotonic(), self.size
        if part.total is not None and self.size != part.total:
            raise self._ended_early(f"{part.total} bytes")
        # Where the end of the connection is the end of the file, a cut looks like an end.
        if part.total is None and self.md5 != self._expected_md5 and self.is_cut:
            raise self._ended_early("a zip with the record that ends it")

    @property
    def is_cut(self) -> bool:
        """Whether the file lacks its end, by its content."""
        self._file.flush()
        return is_cut(Path(self._file.name))

    def _ended_early(self, expected: str) -> SourceUnreachableError:
        return SourceUnreachableError(
            f"{self._source.shown} ended early",
            found=f"{self.size} bytes",
            expected=expected,
            hint="the download is retried; if it keeps failing, check the server",
        )

    def _log_retry(self, state: RetryCallState) -> None:
        log.warning("%s; retrying after %d bytes", _error(state), self.size)

    def _add(self, chunk: bytes, total: int | None) -> None:
        self.size += len(chunk)
        self._check_size(self.size)
        self._file.write(chunk)
        self._md5.update(chunk)
        self._sha256.update(chunk)
        self._progress(self.size, total)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise DatasetError(
                f"{self._source.shown} is too large",
                found=f"{size} bytes",
                expected=f"at most {self._max_bytes}",
                hint="check that the source is a MovieLens-format zip",
            )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
