"""The dataset's zip, read in place: bounded, by our own names, with nothing extracted."""

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
_ENCRYPTED: Final = 0x1
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class _PointsOutsideError(OSError):
    """An archive names a place that is not in it; zipfile expects an OSError at some of them."""


# What zipfile raises for bytes that are no zip, found by changing bytes of zips at random.
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    ValueError,
    _PointsOutsideError,
)
_RATIO_FREE_BYTES: Final = 16 << 20
"""Below this size no ratio is suspicious: a file of one repeated line compresses 1000:1."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may ask of the machine.

    Attributes:
        max_archive_bytes: size of the zip.
        max_entries: files inside it.
        max_entry_bytes: size of ratings.csv, uncompressed; it is read in parts.
        max_movies_bytes: size of movies.csv, uncompressed; it is held in memory (MovieLens: 4 MB).
        max_ratio: uncompressed over compressed size; the text of ratings is near 4.
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
            raise _refused(
                "the archive holds too many files",
                found=len(entries),
                expected=f"at most {limits.max_entries}",
            )
        for entry in entries:
            _check_entry(entry)
        self._entries = {name: _the_one(entries, name) for name in (RATINGS_CSV, MOVIES_CSV)}
        for name, most in (
            (RATINGS_CSV, limits.max_entry_bytes),
            (MOVIES_CSV, limits.max_movies_bytes),
        ):
            _check_size(self._entries[name], most, limits.max_ratio, self.path.stat().st_size)

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
        """Bytes of ``ratings.csv`` or ``movies.csv`` uncompressed, as the archive claims."""
        return self._entries[name].file_size

    def chunks(self, name: str) -> Iterator[bytes]:
        """Content of ``ratings.csv`` or ``movies.csv`` in chunks of at most 1 MiB.

        Raises:
            DatasetError: the entry is truncated or damaged, or holds more than it claims.
        """
        entry = self._entries[name]
        done = 0
        # zipfile stops at the size that the directory claims (checked on opening) and compares
        # the checksum there, so an entry that holds more is cut off and then refused.
        with _damage(f"{name} in {self.path.name}"), self._zip.open(entry) as file:
            while chunk := file.read(_READ_BYTES):
                done += len(chunk)
                yield chunk
        if done != entry.file_size:
            raise _refused(
                f"{name} is shorter than the archive claims", found=done, expected=entry.file_size
            )


def open_dataset(path: Path, limits: ArchiveLimits = ArchiveLimits()) -> DatasetArchive:
    """Opens a MovieLens-format zip and checks its directory; a context manager.

    The two files may lie in any folder of the archive; all others are ignored, but an archive
    with a hostile entry (a path outside, a link, encryption) is refused as a whole.

    Raises:
        DatasetError: not a zip, truncated, hostile, over the limits, or without exactly one
            ``ratings.csv`` and one ``movies.csv``.
    """
    size = path.stat().st_size
    if size > limits.max_archive_bytes:
        raise _refused(
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
    """A file that refuses large reads: zipfile reads the whole directory of an archive at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _READ_BYTES:
            raise _refused(
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
            raise _PointsOutsideError("it points outside itself") from error


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename.replace("\\", "/")
    path = PurePosixPath(name)
    # A drive letter is absolute where the archive may be opened next.
    if path.is_absolute() or ".." in path.parts or "\0" in name or name[1:2] == ":":
        raise _refused(
            "an entry of the archive points outside it",
            found=name,
            expected="relative paths without '..'",
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _refused("an entry of the archive is a link", found=name, expected="plain files")
    if entry.flag_bits & _ENCRYPTED:
        raise _refused("an entry of the archive is encrypted", found=name, expected="plain files")


def _the_one(entries: list[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    matches = [e for e in entries if not e.is_dir() and PurePosixPath(e.filename).name == name]
    if len(matches) != 1:
        found = ", ".join(e.filename for e in matches[:3]) or ", ".join(
            e.filename for e in entries[:10]
        )
        raise _refused(
            f"the archive does not hold exactly one {name}",
            found=found or "an empty archive",
            expected=f"one {RATINGS_CSV} and one {MOVIES_CSV}, in any folder",
        )
    return matches[0]


def _check_size(entry: zipfile.ZipInfo, most: int, max_ratio: float, archive_size: int) -> None:
    if entry.compress_type not in _METHODS:
        raise _refused(
            f"{entry.filename} is compressed in a way that is not read here",
            found=f"method {entry.compress_type}",
            expected="deflated or stored",
        )
    if entry.file_size > most:
        raise _refused(
            f"{entry.filename} is too large",
            found=f"{entry.file_size} bytes",
            expected=f"at most {most}",
        )
    ratio = entry.file_size / max(min(entry.compress_size, archive_size), 1)
    if entry.file_size > _RATIO_FREE_BYTES and ratio > max_ratio:
        raise _refused(
            f"{entry.filename} is compressed like a zip bomb",
            found=f"{ratio:.0f}:1",
            expected=f"at most {max_ratio:.0f}:1",
        )


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise _refused(
            f"{what} is damaged or truncated", found=str(error), expected="a whole zip"
        ) from error


def _refused(message: str, *, found: object = None, expected: object = None) -> DatasetError:
    return DatasetError(
        message,
        found=found,
        expected=expected,
        hint="make the zip anew from plain MovieLens-format files, with its .md5, and publish both",
    )
