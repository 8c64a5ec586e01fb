"""Where a dataset comes from: a web server, S3, or a file; read in order, from any offset."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    DatasetError,
    ServiceUnavailableError,
    SourceUnreachableError,
)
from recsys.object_store import ObjectStore

if TYPE_CHECKING:
    import httpx

    from recsys.settings import S3Settings

_CHUNK: Final = 1 << 20
_CONNECT_TIMEOUT: Final = 10.0
_READ_TIMEOUT: Final = 60.0
_BUSY: Final = {408, 416, 425, 429}
"""Answers worth another try; 416: what was there before the cut has changed."""
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Part:
    """What a source sends.

    Attributes:
        start: offset of the first byte; 0 if the source could not or would not go on from later.
        total: bytes of the whole, None if the source does not say.
        mark: tells whether the content is still the same; None if it cannot be told.
        chunks: the bytes from ``start`` on.
    """

    start: int
    total: int | None
    mark: str | None
    chunks: Iterator[bytes]


class Source(Protocol):
    """One file at a source.

    Attributes:
        shown: how messages name it, without secrets.
        file_name: last part of its path.
    """

    shown: str
    file_name: str

    def md5_file(self) -> Source:
        """The file beside it that holds its md5."""
        ...

    def open(self, start: int = 0, mark: str | None = None) -> AbstractContextManager[Part]:
        """Starts reading, from ``start`` if ``mark`` still holds.

        Raises:
            SourceUnreachableError: no answer, a server error, or a connection cut on the way.
            DatasetError: there is no such file.
            ConfigurationError: access was refused.
        """
        ...


def find_source(source: str, s3: S3Settings | None = None) -> Source:
    """The source that a URL (http, https, s3, file) or a path names; opens nothing yet.

    Raises:
        ConfigurationError: no such kind of source, or an s3 source without settings.
    """
    scheme, separator, _ = source.partition("://")
    if not separator:
        return _File(Path(source).expanduser())
    url = urlsplit(source)
    if scheme in ("http", "https") and url.hostname:
        return _Web(url)
    if scheme == "file" and url.netloc in ("", "localhost"):
        return _File(Path(unquote(url.path)))
    if scheme == "s3" and url.netloc and len(url.path) > 1:
        if s3 is None:
            raise ConfigurationError(
                "an s3 source needs the settings of S3", found=source, hint="set RECSYS_S3_*"
            )
        store = ObjectStore.connect(s3.model_copy(update={"bucket": url.netloc}))
        return _Bucket(store, url.path[1:])
    raise ConfigurationError(
        "not a source of datasets",
        found=_without_secrets(url),
        expected="https://host/name.zip, s3://bucket/key.zip, file:///path.zip or a path",
        hint="correct the dataset's source in the settings",
    )


class _Web:
    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self.shown = _without_secrets(url)
        self.file_name = PurePosixPath(unquote(url.path)).name

    def md5_file(self) -> Source:
        return _Web(self._url._replace(path=self._url.path + ".md5"))

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        import httpx

        # httpx logs whole URLs at INFO, with the secrets that a query may hold.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        headers = {"Accept-Encoding": "identity"}
        if start and mark:
            headers |= {"Range": f"bytes={start}-", "If-Range": mark}
        timeout = httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT)
        try:
            with (
                httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5) as client,
                client.stream("GET", urlunsplit(self._url), headers=headers) as response,
            ):
                self._check(response)
                yield self._part(response, start)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise ConfigurationError(
                f"{self.shown} cannot be asked for", found=str(error), hint="correct the URL"
            ) from error
        except httpx.TransportError as error:
            raise _unreachable(self.shown, f"{type(error).__name__}: {error}") from error

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status >= 500 or status in _BUSY:
            raise _unreachable(self.shown, f"HTTP {status}")
        if status in (401, 403, 407):
            raise ConfigurationError(
                f"access to {self.shown} was refused",
                found=f"HTTP {status}",
                hint="check the URL and the credentials in it",
            )
        raise _missing(self.shown, f"HTTP {status}")

    def _part(self, response: httpx.Response, start: int) -> Part:
        headers = response.headers
        mark = headers.get("ETag", "")
        if not mark or mark.startswith("W/"):
            mark = headers.get("Last-Modified")
        # As they come: what waits for a chunk to fill would be lost when the connection is cut.
        chunks = response.iter_raw()
        if response.status_code == 200:
            length = headers.get("Content-Length", "")
            return Part(0, int(length) if length.isdecimal() else None, mark, chunks)
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            raise _unreachable(
                self.shown, f"Content-Range {headers.get('Content-Range')!r} for offset {start}"
            )
        return Part(start, int(match[2]) if match[2] != "*" else None, mark, chunks)


class _Bucket:
    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self.shown = f"s3://{store.bucket}/{key}"
        self.file_name = PurePosixPath(key).name

    def md5_file(self) -> Source:
        return _Bucket(self._store, self._key + ".md5")

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        try:
            stored = self._store.head(self._key)
            if stored is None:
                raise _missing(self.shown, "no such object")
            # Without a mark to compare: what changes meanwhile does not have the expected md5.
            yield Part(start, stored.size, "same key", self._store.chunks(self._key, start))
        except ServiceUnavailableError as error:
            raise _unreachable(self.shown, str(error.found)) from error
        except ArtifactError as error:
            raise _missing(self.shown, "no such object") from error


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.shown = str(path)
        self.file_name = path.name

    def md5_file(self) -> Source:
        return _File(self._path.with_name(self._path.name + ".md5"))

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        try:
            with self._path.open("rb") as file:
                total = file.seek(0, 2)
                file.seek(start)
                yield Part(start, total, "same file", iter(lambda: file.read(_CHUNK), b""))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _missing(self.shown, "no such file") from error
        except PermissionError as error:
            raise ConfigurationError(
                f"{self.shown} may not be read", found=str(error), hint="check who owns it"
            ) from error


def _without_secrets(url: SplitResult) -> str:
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def _unreachable(shown: str, found: str) -> SourceUnreachableError:
    return SourceUnreachableError(
        f"{shown} does not answer as it should",
        found=found,
        expected="the dataset",
        hint="check the address and the server; the run will be tried again",
    )


def _missing(shown: str, found: str) -> DatasetError:
    return DatasetError(
        f"{shown} does not exist",
        found=found,
        expected="a zip and, beside it, its md5 in a file of the same name with .md5 added",
        hint="publish both: `md5sum x.zip > x.zip.md5`, or correct the source",
    )
