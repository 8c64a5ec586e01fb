"""Sources of a dataset in S3 and in files, read sequentially from any offset."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    DatasetError,
    ServiceUnavailableError,
    SourceUnreachableError,
)
from recsys.object_store import ObjectStore

if TYPE_CHECKING:
    from recsys.object_store import S3Settings

_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Part:
    """The bytes that a source sends over one connection.

    Attributes:
        start: offset of the first byte; 0 if the source cannot resume.
        total: size of the whole file in bytes; None if the source does not announce it.
        mark: identifies the content's version (an ETag or a date); None if there is none.
        chunks: the bytes from ``start`` on.
    """

    start: int
    total: int | None
    mark: str | None
    chunks: Iterator[bytes]


class Source(Protocol):
    """One file at a source.

    Attributes:
        shown: its name in messages, without secrets.
        file_name: last part of its path.
    """

    shown: str
    file_name: str

    def md5_file(self) -> Source:
        """Returns the source of its md5 file."""
        ...

    def open(self, start: int = 0, mark: str | None = None) -> AbstractContextManager[Part]:
        """Opens the file, at ``start`` if its mark is still ``mark``.

        Raises:
            SourceUnreachableError: no response, a server error, or a broken connection.
            DatasetError: there is no such file.
            ConfigurationError: access was denied.
        """
        ...


class TextSource:
    """A short text in place of a file, such as an md5 that is given instead of published."""

    def __init__(self, shown: str, content: str) -> None:
        self._content = content.encode()
        self.shown = shown
        self.file_name = shown

    def md5_file(self) -> Source:
        """See `Source`."""
        raise missing(self.shown, "no md5 of an md5")

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        """See `Source`."""
        yield Part(0, len(self._content), None, iter([self._content]))


class SourceWithMd5:
    """A source whose md5 is not in the file of the same name with ``.md5`` appended."""

    def __init__(self, source: Source, md5_file: Source) -> None:
        self._source = source
        self._md5_file = md5_file
        self.shown = source.shown
        self.file_name = source.file_name

    def md5_file(self) -> Source:
        """See `Source`."""
        return self._md5_file

    def open(self, start: int = 0, mark: str | None = None) -> AbstractContextManager[Part]:
        """See `Source`."""
        return self._source.open(start, mark)


class BucketSource:
    """An object in S3; opening it without settings is an error."""

    def __init__(self, bucket: str, key: str, settings: S3Settings | None) -> None:
        self._bucket = bucket
        self._key = key
        self._settings = settings
        self.shown = f"s3://{bucket}/{key}"
        self.file_name = PurePosixPath(key).name

    def md5_file(self) -> Source:
        """See `Source`."""
        return BucketSource(self._bucket, self._key + ".md5", self._settings)

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        """See `Source`."""
        if self._settings is None:
            raise ConfigurationError(
                "an s3 source needs the S3 settings", found=self.shown, hint="set RECSYS_S3_*"
            )
        try:
            store = ObjectStore.connect(self._settings)
            stored = store.head(self._key)
            if stored is None:
                raise missing(self.shown, "no such object")
            begin = start if mark and start < stored.size else 0
            # S3 has no usable mark. If the object changed in between, the md5 will differ.
            yield Part(begin, stored.size, "same key", store.chunks(self._key, begin))
        except ServiceUnavailableError as error:
            raise unreachable(self.shown, str(error.found)) from error
        except ArtifactError as error:
            raise missing(self.shown, "no such object") from error


class FileSource:
    """A file on a local or mounted disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shown = str(path)
        self.file_name = path.name

    def md5_file(self) -> Source:
        """See `Source`."""
        return FileSource(self._path.with_name(self._path.name + ".md5"))

    @contextmanager
    def open(self, start: int = 0, mark: str | None = None) -> Iterator[Part]:
        """See `Source`."""
        with self._opened() as file:
            total = file.seek(0, 2)
            begin = file.seek(start if mark and start < total else 0)
            yield Part(begin, total, "same file", self._chunks(file))

    def _opened(self) -> BinaryIO:
        try:
            # Opening a pipe would block, and a device has no end.
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise missing(self.shown, "not a regular file")
            return self._path.open("rb")
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise missing(self.shown, "no such file") from error
        except PermissionError as error:
            raise ConfigurationError(
                f"{self.shown} cannot be read",
                found=str(error),
                hint="check the owner and the permissions of the file",
            ) from error
        except OSError as error:
            raise unreachable(self.shown, str(error)) from error

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        try:
            yield from iter(lambda: file.read(_CHUNK), b"")
        except OSError as error:
            raise unreachable(self.shown, str(error)) from error


class BusySourceError(SourceUnreachableError):
    """The source answers that the file is not ready yet, or that it is asked too often.

    Attributes:
        retry_after_s: seconds that it asks to wait; 0 if it names none.
    """

    retry_after_s: float = 0.0


def busy(shown: str, found: str, retry_after_s: float) -> BusySourceError:
    """Creates the error of a source that asks to come back later."""
    after = f", Retry-After: {retry_after_s:.0f} s" if retry_after_s else ""
    error = BusySourceError(
        f"{shown} is not ready, or is asked too often",
        found=found + after,
        expected="the dataset",
        hint="wait; the run will be retried",
    )
    error.retry_after_s = retry_after_s
    return error


def unreachable(shown: str, found: str) -> SourceUnreachableError:
    """Creates the error of a source that does not respond, or responds incorrectly."""
    return SourceUnreachableError(
        f"{shown} cannot be reached or sends invalid responses",
        found=found,
        expected="the dataset",
        hint="check the address and the server; the run will be retried",
    )


class MissingFileError(DatasetError):
    """The source has no such file."""


def missing(shown: str, found: str) -> MissingFileError:
    """Creates the error of a source that has no such file."""
    return MissingFileError(
        f"{shown} does not exist",
        found=found,
        expected="a zip, and its md5 in a file of the same name with .md5 appended",
        hint="publish both: `md5sum x.zip > x.zip.md5`, or correct the source",
    )
