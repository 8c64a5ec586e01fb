"""Reading a dataset's zip in place, with limits on size and memory; nothing is extracted."""

from __future__ import annotations

import errno
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final

from recsys.errors import DatasetError

RATING_COLUMNS: Final = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS: Final = ("movieId", "title", "genres")
NO_GENRES: Final = "(no genres listed)"
RATINGS_CSV: Final = "ratings.csv"
MOVIES_CSV: Final = "movies.csv"
_READ_BYTES: Final = 1 << 20
_ENCRYPTED_FLAG: Final = 0x1
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class _PointsOutsideError(OSError):
    """An archive contains an offset outside itself; in some places zipfile expects an OSError."""


# The errors that zipfile raises for damaged zips, found by changing random bytes of zips.
_DAMAGE_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,  # an unknown compression method
    OverflowError,
    ValueError,
    _PointsOutsideError,
)
_RATIO_FREE_BYTES: Final = 16 << 20
"""The ratio of smaller files is not checked: a file of one repeated line compresses 1000:1."""


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of an archive.

    Attributes:
        max_archive_bytes: maximum size of the zip.
        max_entries: maximum number of entries.
        max_entry_bytes: maximum size of ratings.csv, uncompressed; it is read in chunks.
        max_movies_bytes: maximum size of movies.csv, uncompressed; it is loaded into memory
            (MovieLens: 4 MB).
        max_ratio: maximum ratio of uncompressed to compressed size; that of ratings is about 4.
    """

    max_archive_bytes: int = 4 << 30
    max_entries: int = 1000
    max_entry_bytes: int = 16 << 30
    max_movies_bytes: int = 32 << 20
    max_ratio: float = 200.0


class DatasetArchive:
    """An open zip with exactly one ``ratings.csv`` and one ``movies.csv``; see `open_dataset`.

    Attributes:
        path: the zip.
    """

    def __init__(self, file: _SmallReads, limits: ArchiveLimits) -> None:
        self.path = file.path
        self._file = file
        self._zip = zipfile.ZipFile(file)
        entries = self._zip.infolist()
        if len(entries) > limits.max_entries:
            raise _invalid(
                "the archive contains too many files",
                found=len(entries),
                expected=f"at most {limits.max_entries}",
            )
        for entry in entries:
            _check_entry(entry)
        self._entries = {name: _single_entry(entries, name) for name in (RATINGS_CSV, MOVIES_CSV)}
        for name, max_bytes in (
            (RATINGS_CSV, limits.max_entry_bytes),
            (MOVIES_CSV, limits.max_movies_bytes),
        ):
            _check_size(self._entries[name], max_bytes, limits.max_ratio, self.path.stat().st_size)

    def __enter__(self) -> DatasetArchive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()

    def size(self, name: str) -> int:
        """Returns the uncompressed size of ``ratings.csv`` or ``movies.csv`` in the directory."""
        return self._entries[name].file_size

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yields the content of ``ratings.csv`` or ``movies.csv`` in chunks of at most 1 MiB.

        Raises:
            DatasetError: the entry is truncated or damaged, or larger than the directory states.
        """
        entry = self._entries[name]
        done = 0
        # zipfile stops at the size in the directory (which was checked on opening) and compares
        # the checksum there, so an entry that is larger fails.
        with _damage(f"{name} in {self.path.name}"), self._zip.open(entry) as file:
            while chunk := file.read(_READ_BYTES):
                done += len(chunk)
                yield chunk
        if done != entry.file_size:
            raise _invalid(
                f"{name} is shorter than the archive's directory states",
                found=done,
                expected=entry.file_size,
            )


def open_dataset(path: Path, limits: ArchiveLimits = ArchiveLimits()) -> DatasetArchive:
    """Opens a MovieLens-format zip and checks its directory; use it in a ``with`` statement.

    The two files may be in any folder of the archive, and other files are ignored. But an archive
    with any malicious entry (a path outside the archive, a link, encryption) is rejected.

    Raises:
        DatasetError: not a zip, truncated, malicious, over the limits, or without exactly one
            ``ratings.csv`` and one ``movies.csv``.
    """
    size = path.stat().st_size
    if size > limits.max_archive_bytes:
        raise _invalid(
            "the archive is too large",
            found=f"{size} bytes",
            expected=f"at most {limits.max_archive_bytes}",
        )
    with _damage(path.name):
        file = _SmallReads(path)
        try:
            return DatasetArchive(file, limits)
        except BaseException:
            file.close()
            raise


class _SmallReads(io.FileIO):
    """A file that rejects large reads: zipfile reads the whole directory of an archive at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _READ_BYTES:
            raise _invalid(
                "the directory of the archive is too large",
                found=f"{size} bytes",
                expected=f"at most {_READ_BYTES}",
            )
        return super().read(-1 if size is None else size) or b""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise _PointsOutsideError("an offset is outside the archive") from error


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename.replace("\\", "/")
    path = PurePosixPath(name)
    # A path with a drive letter is absolute on Windows.
    if path.is_absolute() or ".." in path.parts or "\0" in name or name[1:2] == ":":
        raise _invalid(
            "an entry of the archive has a path outside it",
            found=name,
            expected="relative paths without '..'",
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _invalid("an entry of the archive is a link", found=name, expected="regular files")
    if entry.flag_bits & _ENCRYPTED_FLAG:
        raise _invalid("an entry of the archive is encrypted", found=name, expected="no encryption")


def _single_entry(entries: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    matches = [e for e in entries if not e.is_dir() and PurePosixPath(e.filename).name == name]
    if len(matches) != 1:
        found = ", ".join(e.filename for e in matches[:3]) or ", ".join(
            e.filename for e in entries[:10]
        )
        raise _invalid(
            f"the archive does not contain exactly one {name}",
            found=found or "an empty archive",
            expected=f"one {RATINGS_CSV} and one {MOVIES_CSV}, in any folder",
        )
    return matches[0]


def _check_size(
    entry: zipfile.ZipInfo, max_bytes: int, max_ratio: float, archive_size: int
) -> None:
    if entry.compress_type not in _METHODS:
        raise _invalid(
            f"{entry.filename} uses an unsupported compression method",
            found=f"method {entry.compress_type}",
            expected="deflated or stored",
        )
    if entry.file_size > max_bytes:
        raise _invalid(
            f"{entry.filename} is too large",
            found=f"{entry.file_size} bytes",
            expected=f"at most {max_bytes}",
        )
    ratio = entry.file_size / max(min(entry.compress_size, archive_size), 1)
    if entry.file_size > _RATIO_FREE_BYTES and ratio > max_ratio:
        raise _invalid(
            f"{entry.filename} has the compression ratio of a zip bomb",
            found=f"{ratio:.0f}:1",
            expected=f"at most {max_ratio:.0f}:1",
        )


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE_ERRORS as error:
        raise _invalid(
            f"{what} is damaged or truncated", found=str(error), expected="a complete zip"
        ) from error


def _invalid(message: str, *, found: object = None, expected: object = None) -> DatasetError:
    return DatasetError(
        message,
        found=found,
        expected=expected,
        hint="create the zip again from MovieLens-format files, and publish it with its .md5",
    )
