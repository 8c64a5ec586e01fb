"""A zip on its way to a file: hashed as it comes, taken up again where a connection broke."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from recsys.dataset.progress import Progress
from recsys.dataset.sources import Part, Source, unreachable
from recsys.errors import DatasetError, SourceUnreachableError
from recsys.scratch import check_space

if TYPE_CHECKING:
    from recsys.dataset.settings import FetchSettings

log = logging.getLogger(__name__)

_MAX_WAIT_S: Final = 30.0
_LEAST_GAIN: Final = 1 << 20
_LEAST_SPEED: Final = 1000
"""Bytes a second: a server that sends less is as good as one that sends nothing."""


class Download:
    """A zip on its way to a file, with what is known of it between two connections.

    Args:
        source: where it comes from.
        file: where it goes; what it holds is overwritten.
        max_bytes: more than that is refused.
        settings: patience.
        progress: told the bytes done and in all.

    Attributes:
        size: bytes that came.
        resumed: whether it is made of the parts that several connections brought.
    """

    def __init__(
        self,
        source: Source,
        file: BinaryIO,
        max_bytes: int,
        settings: FetchSettings,
        progress: Progress,
    ) -> None:
        self._source = source
        self._file = file
        self._max_bytes = max_bytes
        self._settings = settings
        self._progress = progress
        self._mark: str | None = None
        self._furthest = 0
        self._in_vain = 0
        self._begin()

    @property
    def md5(self) -> str:
        """32 hex digits."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return self._sha256.hexdigest()

    def complete(self) -> None:
        """Reads until the source has sent all, through as many connections as it takes.

        A connection counts as in vain unless it brought a hundredth of the whole that none before
        it did; after so many in a row the source is given up.

        Raises:
            SourceUnreachableError: the source was given up.
            DatasetError: there is no such file, or it is too large.
            ConfigurationError: access was refused.
            DiskFullError: it does not fit.
        """
        for attempt in Retrying(
            retry=retry_if_exception_type(SourceUnreachableError),
            stop=lambda state: self._in_vain >= self._settings.attempts,
            wait=lambda state: min(
                self._settings.first_wait_s * 2 ** max(self._in_vain - 1, 0), _MAX_WAIT_S
            ),
            before_sleep=self._warn,
            reraise=True,
        ):
            with attempt:
                self._read()
        self._file.flush()

    def _begin(self) -> None:
        self.size = 0
        self.resumed = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._file.seek(0)
        self._file.truncate()

    def _read(self) -> None:
        before = self.size
        least = _LEAST_GAIN
        try:
            with self._source.open(self.size, self._mark) as part:
                if part.total is not None:
                    least = max(part.total // 100, 1)
                if part.start != self.size:
                    self._begin()
                self.resumed = part.start > 0
                self._mark = part.mark
                self._check_size(part.total or 0)
                check_space(Path(self._file.name).parent, (part.total or 0) - self.size)
                self._take(part)
        except SourceUnreachableError:
            if self.size == before:
                # Going on from here brought nothing: the next attempt starts anew.
                self._mark = None
            self._in_vain = 0 if self.size >= self._furthest + least else self._in_vain + 1
            self._furthest = max(self._furthest, self.size)
            raise

    def _take(self, part: Part) -> None:
        window = self._settings.read_timeout_s
        since, had = time.monotonic(), self.size
        for chunk in part.chunks:
            self._add(chunk, part.total)
            seconds = time.monotonic() - since
            if seconds > window:
                if self.size - had < _LEAST_SPEED * seconds:
                    raise unreachable(
                        self._source.shown, f"{self.size - had} bytes in {seconds:.0f} s"
                    )
                since, had = time.monotonic(), self.size
        if part.total is not None and self.size != part.total:
            raise SourceUnreachableError(
                f"{self._source.shown} ended early",
                found=f"{self.size} bytes",
                expected=f"{part.total} bytes",
                hint="the run will be tried again",
            )

    def _warn(self, state: RetryCallState) -> None:
        """Says that the next attempt follows, and why."""
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s; %d bytes are here, going on", error, self.size)

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
