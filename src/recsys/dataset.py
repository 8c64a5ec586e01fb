"""The dataset's md5 and zip: read at the source, checked, and brought into the object store."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO, Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential

from recsys import contract
from recsys.archive import ArchiveLimits, open_dataset
from recsys.dataset_source import Source, find_source
from recsys.errors import DatasetError, RecsysError, SourceUnreachableError
from recsys.object_store import ObjectStore

if TYPE_CHECKING:
    from recsys.settings import S3Settings

log = logging.getLogger(__name__)

MAX_MD5_FILE_BYTES: Final = 4096

_HEX: Final = "([0-9a-fA-F]{32})"
_MD5_LINES: Final = (
    re.compile(rf"MD5 ?\((?P<name>.+)\) ?= ?(?P<md5>{_HEX})"),
    re.compile(rf"\\?(?P<md5>{_HEX})(?: [ *](?P<name>.+))?"),
)

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and, where it is known, the bytes in all."""


@dataclass(frozen=True)
class FetchLimits:
    """How patient a fetch is and what it accepts.

    Attributes:
        attempts: connections to the source in all; each goes on where the last was cut.
        first_wait: seconds before the second connection; doubled each time, at most 30.
        archive: limits on the zip, its size among them.
    """

    attempts: int = 6
    first_wait: float = 1.0
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)


@dataclass(frozen=True)
class FetchedDataset:
    """A dataset's zip in the object store.

    Attributes:
        md5: 32 hex digits, checked.
        sha256: 64 hex digits.
        size: bytes.
        key: where it is in the store.
        fetched: False if it was there already.
    """

    md5: str
    sha256: str
    size: int
    key: str
    fetched: bool


def read_source_md5(source: str, s3: S3Settings | None = None) -> str:
    """Reads the md5 that the source publishes for its zip, in ``<source>.md5``.

    Args:
        source: URL (http, https, s3, file) or path of the zip.
        s3: endpoint and credentials for an s3 source; its bucket is the source's own.

    Returns:
        32 lower-case hex digits.

    Raises:
        DatasetError: there is no md5 file, or it holds no md5 for this zip.
        SourceUnreachableError: the source does not answer; never taken for "unchanged".
        ConfigurationError: the source makes no sense or refuses access.
    """
    found = find_source(source, s3)
    return parse_md5(_read_md5_file(found.md5_file()), found.file_name)


def parse_md5(content: bytes, file_name: str) -> str:
    """Finds the md5 of ``file_name`` in the content of an md5 file.

    Lines are ``MD5 (name) = hex``, ``hex  name`` or ``hex``. A single line counts whatever its
    name, because files are renamed when they are copied; of several the name decides.

    Returns:
        32 lower-case hex digits.

    Raises:
        DatasetError: too large, empty, not an md5 file, or several md5s that may be meant.
    """
    if len(content) > MAX_MD5_FILE_BYTES:
        raise _not_md5(file_name, "a file of more than 4 KB")
    text = content.decode("utf-8-sig", "replace")
    lines = [s for line in text.splitlines() if (s := line.strip()) and not s.startswith("#")]
    if not lines:
        raise _not_md5(file_name, "an empty file")
    listed: list[tuple[str | None, str]] = []
    for line in lines:
        match = next((m for form in _MD5_LINES if (m := form.fullmatch(line))), None)
        if match is None:
            raise _not_md5(file_name, "an HTML page" if line.startswith("<") else line)
        name = match["name"]
        listed.append((PurePosixPath(name).name if name else None, match["md5"].lower()))
    named = {md5 for name, md5 in listed if name == file_name}
    candidates = named or {md5 for _, md5 in listed}
    if len(candidates) > 1:
        raise _not_md5(file_name, f"{len(candidates)} md5s that may be meant")
    return candidates.pop()


def fetch_dataset(
    source: str,
    md5: str,
    store: ObjectStore,
    *,
    s3: S3Settings | None = None,
    progress: Progress | None = None,
    limits: FetchLimits = FetchLimits(),
) -> FetchedDataset:
    """Brings the source's zip into the store under its md5, unless it is there already.

    The zip is hashed while it streams to a temporary file, its directory is checked, and it
    appears in the store whole or not at all. A connection that is cut is taken up again where it
    broke, if the source can do that.

    Args:
        source: URL (http, https, s3, file) or path of the zip.
        md5: what the zip must have, as `read_source_md5` gave it.
        store: where the zip goes.
        s3: endpoint and credentials for an s3 source.
        progress: told the bytes done and in all.
        limits: patience, and bounds on the archive.

    Raises:
        DatasetError: the zip does not have the md5, or its archive is refused.
        SourceUnreachableError: the source did not answer in any attempt.
        ConfigurationError: the source makes no sense or refuses access.
    """
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = store.head(key)
    if stored is not None and stored.metadata.get("md5") == md5 and "sha256" in stored.metadata:
        return FetchedDataset(md5, stored.metadata["sha256"], stored.size, key, fetched=False)
    found = find_source(source, s3)
    with TemporaryDirectory(prefix="recsys-fetch-") as folder:
        path = Path(folder) / contract.DATASET_FILE
        with path.open("wb") as file:
            download = _Download(found, file, limits.archive.max_archive_bytes, progress)
            for attempt in Retrying(
                retry=retry_if_exception_type(SourceUnreachableError),
                stop=stop_after_attempt(limits.attempts),
                wait=wait_exponential(limits.first_wait, max=30),
                before_sleep=download.warn,
                reraise=True,
            ):
                with attempt:
                    download.run()
        if download.md5.hexdigest() != md5:
            raise _mismatch(found, md5, download.md5.hexdigest(), download.size)
        with open_dataset(path, limits.archive):
            pass
        sha256 = download.sha256.hexdigest()
        store.put_file(key, path, {"md5": md5, "sha256": sha256})
    return FetchedDataset(md5, sha256, download.size, key, fetched=True)


class _Download:
    """A zip on its way to a file, with what is known of it between two connections."""

    def __init__(
        self, source: Source, file: BinaryIO, max_bytes: int, progress: Progress | None
    ) -> None:
        self._source = source
        self._file = file
        self._max_bytes = max_bytes
        self._progress = progress
        self._mark: str | None = None
        self._restart()

    def _restart(self) -> None:
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256()
        self._file.seek(0)
        self._file.truncate()

    def run(self) -> None:
        """Reads until the source has sent all; to be called again after a cut."""
        before = self.size
        try:
            with self._source.open(self.size, self._mark) as part:
                if part.start != self.size:
                    self._restart()
                self._mark = part.mark
                self._check_size(part.total or 0)
                for chunk in part.chunks:
                    self._add(chunk, part.total)
                if part.total is not None and self.size != part.total:
                    raise SourceUnreachableError(
                        f"{self._source.shown} ended early",
                        found=f"{self.size} bytes",
                        expected=f"{part.total} bytes",
                        hint="the run will be tried again",
                    )
        except SourceUnreachableError:
            if self.size == before:
                # Going on from here brought nothing: the next attempt starts anew.
                self._mark = None
            raise

    def warn(self, state: RetryCallState) -> None:
        """Says that the next attempt follows, and why."""
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s; %d bytes are here, going on", error, self.size)

    def _add(self, chunk: bytes, total: int | None) -> None:
        self.size += len(chunk)
        self._check_size(self.size)
        self._file.write(chunk)
        self.md5.update(chunk)
        self.sha256.update(chunk)
        if self._progress:
            self._progress(self.size, total)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise DatasetError(
                f"{self._source.shown} is too large",
                found=f"{size} bytes",
                expected=f"at most {self._max_bytes}",
                hint="check that the source is a MovieLens-format zip",
            )


def _read_md5_file(source: Source) -> bytes:
    content = b""
    with source.open() as part:
        for chunk in part.chunks:
            content += chunk
            if len(content) > MAX_MD5_FILE_BYTES:
                break
    return content


def _mismatch(source: Source, expected: str, found: str, size: int) -> DatasetError:
    hint = f"publish a matching pair: `md5sum {source.file_name} > {source.file_name}.md5`"
    try:
        listed = parse_md5(_read_md5_file(source.md5_file()), source.file_name)
    except RecsysError:
        listed = expected
    if listed != expected:
        hint = f"the source changed meanwhile and now says {listed}; start a new run"
    return DatasetError(
        f"{source.shown} does not have the md5 that was published for it",
        found=f"md5 {found} ({size} bytes)",
        expected=f"md5 {expected}",
        hint=hint,
    )


def _not_md5(file_name: str, found: str) -> DatasetError:
    return DatasetError(
        f"the md5 file of {file_name} cannot be used",
        found=found,
        expected=f"'MD5 ({file_name}) = <32 hex digits>' or '<32 hex digits>  {file_name}'",
        hint=f"make it with `md5sum {file_name} > {file_name}.md5`",
    )
