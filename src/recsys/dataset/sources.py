"""Where a dataset comes from: S3 or a file; read in order, from any offset."""

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


class BucketSource:
    """An object in S3; without settings it can be named, but not read."""

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
                "an s3 source needs the settings of S3", found=self.shown, hint="set RECSYS_S3_*"
            )
        try:
            store = ObjectStore.connect(self._settings)
            stored = store.head(self._key)
            if stored is None:
                raise missing(self.shown, "no such object")
            begin = start if mark and start < stored.size else 0
            # Without a mark to compare: parts that do not fit together do not have the md5.
            yield Part(begin, stored.size, "same key", store.chunks(self._key, begin))
        except ServiceUnavailableError as error:
            raise unreachable(self.shown, str(error.found)) from error
        except ArtifactError as error:
            raise missing(self.shown, "no such object") from error


class FileSource:
    """A file of this machine, or of one that is mounted."""

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
            # A pipe would be waited for, a device never ends.
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise missing(self.shown, "something that is no file")
            return self._path.open("rb")
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise missing(self.shown, "no such file") from error
        except PermissionError as error:
            raise ConfigurationError(
                f"{self.shown} may not be read", found=str(error), hint="check who owns it"
            ) from error
        except OSError as error:
            raise unreachable(self.shown, str(error)) from error

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        try:
            yield from iter(lambda: file.read(_CHUNK), b"")
        except OSError as error:
            raise unreachable(self.shown, str(error)) from error


def unreachable(shown: str, found: str) -> SourceUnreachableError:
    """The error of a source that does not answer, or not as it should."""
    return SourceUnreachableError(
        f"{shown} does not answer as it should",
        found=found,
        expected="the dataset",
        hint="check the address and the server; the run will be tried again",
    )


def missing(shown: str, found: str) -> DatasetError:
    """The error of a source where there is no such file."""
    return DatasetError(
        f"{shown} does not exist",
        found=found,
        expected="a zip and, beside it, its md5 in a file of the same name with .md5 added",
        hint="publish both: `md5sum x.zip > x.zip.md5`, or correct the source",
    )
