"""The dataset's md5 and zip: read at the source, checked, and brought into the object store."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from pydantic import ValidationError

from recsys import contract
from recsys.dataset.archive import ArchiveLimits, open_dataset
from recsys.dataset.download import Download
from recsys.dataset.mirrors import find_sources, first_that_works
from recsys.dataset.progress import LogProgress, Progress
from recsys.dataset.settings import FetchSettings
from recsys.dataset.sources import Source
from recsys.errors import ConfigurationError, DatasetError, RecsysError
from recsys.object_store import ObjectStore
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    from recsys.object_store import S3Settings

log = logging.getLogger(__name__)

MAX_MD5_FILE_BYTES: Final = 4096

_HEX: Final = "([0-9a-fA-F]{32})"
_MD5_LINES: Final = (
    re.compile(rf"MD5 ?\((?P<name>.+)\) ?= ?(?P<md5>{_HEX})"),
    re.compile(rf"\\?(?P<md5>{_HEX})(?: [ *](?P<name>.+))?"),
)


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


def read_source_md5(
    source: str, s3: S3Settings | None = None, settings: FetchSettings | None = None
) -> str:
    """Reads the md5 that the source publishes for its zip, in ``<source>.md5``.

    Args:
        source: URL (http, https, s3, file) or path of the zip; of several, separated by blanks
            or commas, the first that gives an md5 counts.
        s3: endpoint and credentials for an s3 source; its bucket is the source's own.
        settings: patience; from the environment if not given.

    Returns:
        32 lower-case hex digits.

    Raises:
        DatasetError: there is no md5 file, or it holds no md5 for this zip.
        SourceUnreachableError: the source does not answer; never taken for "unchanged".
        ConfigurationError: the source makes no sense or refuses access.
    """
    found = find_sources(source, settings or _settings(), s3)
    return first_that_works(
        found, lambda one: parse_md5(_read_md5_file(one.md5_file()), one.file_name)
    )


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
    settings: FetchSettings | None = None,
    limits: ArchiveLimits | None = None,
) -> FetchedDataset:
    """Brings the source's zip into the store under its md5, unless it is there already.

    The zip is hashed while it streams to a temporary file, its directory is checked, and it
    appears in the store whole or not at all. A connection that is cut is taken up again where it
    broke, if the source can do that. Of several sources each is tried in turn until one gives
    bytes with the md5.

    Args:
        source: URL (http, https, s3, file) or path of the zip, or several, separated by blanks or
            commas.
        md5: what the zip must have, as `read_source_md5` gave it.
        store: where the zip goes.
        s3: endpoint and credentials for an s3 source.
        progress: told the bytes done and in all; lines of the log if not given.
        settings: patience; from the environment if not given.
        limits: bounds on the archive, its size among them; the usual ones if not given.

    Raises:
        DatasetError: the zip does not have the md5, or its archive is refused.
        SourceUnreachableError: the source did not answer in any attempt.
        ConfigurationError: the source makes no sense or refuses access.
        DiskFullError: the disk for temporary files is full.
    """
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = store.head(key)
    if stored is not None and stored.metadata.get("md5") == md5 and "sha256" in stored.metadata:
        return FetchedDataset(md5, stored.metadata["sha256"], stored.size, key, fetched=False)
    patience = settings or _settings()
    bounds = limits or ArchiveLimits()
    sources = find_sources(source, patience, s3)
    with scratch_folder("fetch") as folder:
        path = folder / contract.DATASET_FILE
        with path.open("wb") as file:
            arrived = first_that_works(
                sources,
                lambda one: _obtain(
                    one, md5, file, bounds, patience, progress or LogProgress("fetched")
                ),
            )
        with open_dataset(path, bounds):
            pass
        log.info("%d bytes have the md5 %s; storing them", arrived.size, md5)
        store.put_file(
            key,
            path,
            {"md5": md5, "sha256": arrived.sha256},
            progress=LogProgress("stored").adding(arrived.size),
        )
    return FetchedDataset(md5, arrived.sha256, arrived.size, key, fetched=True)


def _settings() -> FetchSettings:
    try:
        return FetchSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(
            "RECSYS_FETCH_* makes no sense",
            found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="correct the variable, or unset it",
        ) from error


def _obtain(
    source: Source,
    md5: str,
    file: BinaryIO,
    limits: ArchiveLimits,
    settings: FetchSettings,
    progress: Progress,
) -> Download:
    log.info("fetching %s", source.shown)
    download = Download(source, file, limits.max_archive_bytes, settings, progress)
    download.complete()
    if download.md5 != md5 and download.resumed:
        log.warning("the parts of %s do not fit together; reading it anew", source.shown)
        download = Download(source, file, limits.max_archive_bytes, settings, progress)
        download.complete()
    if download.md5 != md5:
        raise _mismatch(source, md5, download.md5, download.size)
    return download


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
