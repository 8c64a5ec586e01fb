"""Fetching a dataset: the published md5, a verified local file, the copy in the object store."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from recsys import contract
from recsys.contract import DETECTED_COLUMNS, DatasetColumns
from recsys.dataset.archive import ArchiveLimits, open_dataset
from recsys.dataset.content import other_kind
from recsys.dataset.download import Download
from recsys.dataset.md5_file import read_md5
from recsys.dataset.mirrors import names_md5, parse_sources, split_sources, try_sources
from recsys.dataset.progress import LogProgress, Progress
from recsys.dataset.settings import FetchSettings
from recsys.dataset.sources import MissingFileError, Source
from recsys.errors import DatasetError, RecsysError, UnmatchedDatasetError
from recsys.object_store import ObjectStore
from recsys.scratch import scratch_folder

if TYPE_CHECKING:
    from recsys.object_store import S3Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchedDataset:
    """A dataset's zip in the object store.

    Attributes:
        md5: 32 hex digits, verified.
        sha256: 64 hex digits.
        size: bytes.
        key: its key in the store.
        fetched: False if the store already contained it.
    """

    md5: str
    sha256: str
    size: int
    key: str
    fetched: bool


@dataclass(frozen=True)
class LocalDataset:
    """A dataset's zip as a local file.

    Attributes:
        path: the zip.
        md5: 32 hex digits of its content.
    """

    path: Path
    md5: str


def read_source_md5(
    source: str, s3: S3Settings | None = None, settings: FetchSettings | None = None
) -> str:
    """Reads the md5 that the source publishes for its zip, in ``<source>.md5``.

    Args:
        source: URL (http, https, s3, file) or path of the zip, or several mirrors, separated by
            blanks or commas; the first mirror that returns an md5 decides. ``md5=`` after one
            names its md5 (32 hex digits), or another URL or path of its md5 file.
        s3: endpoint and credentials of an s3 source; the bucket is that of the URL.
        settings: timeouts; from the environment if not given.

    Returns:
        32 lower-case hex digits.

    Raises:
        DatasetError: the md5 file is missing, or contains no md5 for this zip.
        SourceUnreachableError: the source does not answer; this never counts as "unchanged".
        ConfigurationError: the source is invalid or denies access.
    """
    settings = settings or FetchSettings.from_environment()
    sources = parse_sources(source, settings, s3)
    return try_sources(sources, lambda one: read_md5(one, settings))


def fetch_dataset(
    source: str,
    md5: str,
    store: ObjectStore,
    *,
    s3: S3Settings | None = None,
    progress: Progress | None = None,
    settings: FetchSettings | None = None,
    limits: ArchiveLimits | None = None,
    columns: DatasetColumns = DETECTED_COLUMNS,
) -> FetchedDataset:
    """Copies the source's zip into the store under its md5, unless it is already there, undamaged.

    The zip is downloaded to a temporary file and verified as by `obtain_dataset`. The object
    appears in the store complete or not at all.

    Args:
        source: URL (http, https, s3, file) or path of the zip, or several mirrors, separated by
            blanks or commas.
        md5: the expected md5, as returned by `read_source_md5`.
        store: the destination.
        s3: endpoint and credentials of an s3 source.
        progress: called with the bytes done and the total; by default progress is logged.
        settings: timeouts and attempts; from the environment if not given.
        limits: limits of the archive, including its size; the defaults if not given.
        columns: names of its files, if they are not found by themselves.

    Raises:
        UnmatchedDatasetError: the zip is missing or has another md5, and the source still publishes
            this one: the zip may follow.
        DatasetError: the source publishes another md5 by now, or the archive is invalid.
        SourceUnreachableError: no attempt reached the source.
        ConfigurationError: the source is invalid or denies access.
        DiskFullError: the disk for temporary files is full.
    """
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    stored = store.head(key)
    if stored is not None and stored.metadata.get("md5") == md5:
        sha256 = stored.metadata.get("sha256", "")
        # Read, because a server or a person may have damaged it since.
        if store.holds(key, sha256):
            return FetchedDataset(md5, sha256, stored.size, key, fetched=False)
        log.warning("%s is damaged; fetching it again", key)
    settings = settings or FetchSettings.from_environment()
    with scratch_folder("fetch") as folder:
        path = folder / contract.DATASET_FILE
        download = _download(source, md5, path, s3, progress, settings, limits, columns)
        log.info("%d bytes have the md5 %s; storing them", download.size, md5)
        store.put_file(
            key,
            path,
            {"md5": md5, "sha256": download.sha256},
            progress=LogProgress("stored").adding(download.size),
        )
    return FetchedDataset(md5, download.sha256, download.size, key, fetched=True)


def obtain_dataset(
    source: str,
    folder: Path,
    *,
    s3: S3Settings | None = None,
    progress: Progress | None = None,
    settings: FetchSettings | None = None,
    columns: DatasetColumns = DETECTED_COLUMNS,
) -> LocalDataset:
    """Returns a dataset as a local file.

    A path is used in place and needs no md5 file. Anything else is downloaded to ``folder`` and
    verified: it is hashed while it streams to the file, it must have the md5 that the source
    publishes, and the archive's directory must be valid. If a connection breaks, the download
    resumes there if the server supports it. Mirrors are tried in order until one returns bytes
    with the md5.

    Args:
        source: as for `fetch_dataset`.
        folder: where a download goes.
        s3: endpoint and credentials of an s3 source.
        progress: called with the bytes done and the total; by default progress is logged.
        settings: timeouts and attempts; from the environment if not given.
        columns: names of its files, if they are not found by themselves.

    Raises:
        DatasetError: there is no such file, or its archive is invalid.
        UnmatchedDatasetError: see `fetch_dataset`.
        SourceUnreachableError: no attempt reached the source.
        ConfigurationError: the source is invalid or denies access.
        DiskFullError: the download does not fit on the disk.
    """
    sources = split_sources(source)
    if len(sources) == 1 and "://" not in source and not names_md5(source):
        return _local_file(Path(sources[0]).expanduser())
    settings = settings or FetchSettings.from_environment()
    md5 = read_source_md5(source, s3, settings)
    path = folder / contract.DATASET_FILE
    _download(source, md5, path, s3, progress, settings, columns=columns)
    return LocalDataset(path, md5)


def _local_file(path: Path) -> LocalDataset:
    if not path.is_file():
        raise DatasetError(
            f"there is no file {path}",
            expected="a zip in MovieLens format",
            hint="correct the path",
        )
    with path.open("rb") as file:
        # The md5 identifies a dataset and detects accidents; it is no protection from attackers.
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return LocalDataset(path, digest.hexdigest())


def _download(
    source: str,
    md5: str,
    path: Path,
    s3: S3Settings | None,
    progress: Progress | None,
    settings: FetchSettings,
    limits: ArchiveLimits | None = None,
    columns: DatasetColumns = DETECTED_COLUMNS,
) -> Download:
    """Downloads from the first mirror whose bytes have the md5; checks the archive's directory."""
    limits = limits or ArchiveLimits()
    progress = progress or LogProgress("fetched")
    sources = parse_sources(source, settings, s3)
    with path.open("wb") as file:
        download = try_sources(
            sources,
            lambda one: _download_one(one, md5, file, limits.max_archive_bytes, settings, progress),
        )
    with open_dataset(path, limits, columns=columns):
        return download


def _download_one(
    source: Source,
    md5: str,
    file: BinaryIO,
    max_bytes: int,
    settings: FetchSettings,
    progress: Progress,
) -> Download:
    log.info("fetching %s", source.shown)
    download = Download(source, md5, file, max_bytes, settings, progress)
    try:
        download.complete()
    except MissingFileError as error:
        raise _mismatch(source, md5, settings, "no such file") from error
    if download.md5 != md5 and (download.resumed or download.is_cut):
        log.warning("the download of %s is not whole; starting over", source.shown)
        download = Download(source, md5, file, max_bytes, settings, progress)
        download.complete()
    if download.md5 == md5:
        return download
    found = f"md5 {download.md5} ({download.size} bytes)"
    if download.is_cut:
        found += ", a zip that ends early"
    kind = other_kind(Path(file.name))
    if kind is None:
        raise _mismatch(source, md5, settings, found)
    raise UnmatchedDatasetError(
        f"{source.shown} sends {kind} in place of the zip",
        found=found,
        expected=f"a zip with the md5 {md5}",
        hint="open the address in a browser: a login, a consent or an error page needs the direct "
        "address of the file, or credentials",
    )


def _mismatch(
    source: Source, expected: str, settings: FetchSettings, found: str
) -> DatasetError | UnmatchedDatasetError:
    """Creates the error of a zip that is not the one of the md5.

    Publishers may upload the md5 before the zip. While the source publishes this md5, the zip may
    follow, so a retry may succeed.
    """
    try:
        published_now = read_md5(source, settings)
    except RecsysError:
        published_now = expected
    if published_now != expected:
        return DatasetError(
            f"{source.shown} does not have the md5 that was published when the run began",
            found=found,
            expected=f"md5 {expected}",
            hint=f"the source has changed and now publishes {published_now}; start a new run",
        )
    name = source.file_name
    return UnmatchedDatasetError(
        f"{source.shown} does not have the published md5",
        found=found,
        expected=f"md5 {expected}",
        hint="wait until the zip is uploaded, too; if it is, "
        f"publish a matching pair: `md5sum {name} > {name}.md5`",
    )
