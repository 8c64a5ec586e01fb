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
from typing import IO, Final

from recsys.errors import DatasetError

RATING_COLUMNS: Final = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS: Final = ("movieId", "title", "genres")
NO_GENRES: Final = "(no genres listed)"
RATINGS_CSV: Final = "ratings.csv"
MOVIES_CSV: Final = "movies.csv"
_READ_BYTES: Final = 1 << 20
_ENCRYPTED_FLAG: Final = 0x1
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DEFLATE64: Final = 9
_METHOD_NAMES: Final = {
    6: "implode",
    _DEFLATE64: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "xz",
    98: "PPMd",
    99: "AES encryption",
}
_ARCHIVE_SUFFIXES: Final = {".zip", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tgz", ".zst"}
_REPAIR: Final = "create the zip again from MovieLens-format files, and publish it with its .md5"
_SPLIT_MARK: Final = b"PK\x07\x08"
_KINDS: Final = (
    (0, b"\x1f\x8b", "a gzip file, or a .tar.gz"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (257, b"ustar", "a tar archive"),
    (0, b"userId", "a CSV"),
    (0, b"\xef\xbb\xbfuserId", "a CSV"),
)
_KIND_BYTES: Final = 512


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
        with _damage(f"{name} in {self.path.name}"), self._open(entry) as file:
            while chunk := file.read(_READ_BYTES):
                done += len(chunk)
                yield chunk
        if done != entry.file_size:
            raise _invalid(
                f"{name} is shorter than the archive's directory states",
                found=done,
                expected=entry.file_size,
            )

    def _open(self, entry: zipfile.ZipInfo) -> IO[bytes]:
        try:
            return self._zip.open(entry)
        except zipfile.BadZipFile:
            # Some programs on Windows write backslashes into the directory only.
            entry.orig_filename = entry.orig_filename.replace("\\", "/")
            return self._zip.open(entry)


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
        except zipfile.BadZipFile:
            file.close()
            _check_kind(path)
            raise
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
    files = [entry for entry in entries if not entry.is_dir() and not _is_resource(entry)]
    matches = [entry for entry in files if _path(entry).name == name]
    if not matches:
        # Programs of systems without upper and lower case change it.
        matches = [entry for entry in files if _path(entry).name.casefold() == name]
    if len(matches) != 1:
        found = ", ".join(e.filename for e in matches[:3]) or ", ".join(
            e.filename for e in files[:10]
        )
        raise DatasetError(
            f"the archive does not contain exactly one {name}",
            found=found or "an empty archive",
            expected=f"one {RATINGS_CSV} and one {MOVIES_CSV}, in any folder",
            hint=_absence_hint(name, files, are_several=bool(matches)),
        )
    return matches[0]


def _path(entry: zipfile.ZipInfo) -> PurePosixPath:
    # Programs on Windows write backslashes between folders.
    return PurePosixPath(entry.orig_filename.replace("\\", "/"))


def _is_resource(entry: zipfile.ZipInfo) -> bool:
    """Whether macOS added the entry, to store attributes of another one."""
    path = _path(entry)
    return "__MACOSX" in path.parts or path.name.startswith("._")


def _absence_hint(name: str, files: list[zipfile.ZipInfo], *, are_several: bool) -> str:
    if are_several:
        return f"keep one {name} in the zip, and publish it with its .md5"
    stem = name.removesuffix(".csv")
    for entry in files:
        path = _path(entry)
        lower = path.name.casefold()
        if path.suffix.casefold() in _ARCHIVE_SUFFIXES:
            return (
                f"{path.name} is an archive inside the zip: zip {RATINGS_CSV} and {MOVIES_CSV} "
                "themselves, and publish it with its .md5"
            )
        if lower == f"{stem}.dat":
            return (
                f"{path.name} is in MovieLens' older format: write {name}, a CSV with the "
                "names of the columns in the first line, and publish it with its .md5"
            )
        if lower.startswith(stem.removesuffix("s")):
            return f"rename {path.name} to {name} in the zip, and publish it with its .md5"
    return _REPAIR


def _check_size(
    entry: zipfile.ZipInfo, max_bytes: int, max_ratio: float, archive_size: int
) -> None:
    if entry.compress_type not in _METHODS:
        raise _invalid(
            f"{entry.filename} uses an unsupported compression method",
            found=f"method {entry.compress_type} ({_method_name(entry.compress_type)})",
            expected="deflated or stored",
            hint="zip the files with the method Deflate"
            + (
                ": Windows Explorer takes Deflate64 for files of over 2 GB, 7-Zip and `zip` do not"
                if entry.compress_type == _DEFLATE64
                else ""
            )
            + ", and publish it with its .md5",
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


def _invalid(
    message: str, *, found: object = None, expected: object = None, hint: str = ""
) -> DatasetError:
    return DatasetError(message, found=found, expected=expected, hint=hint or _REPAIR)


def _method_name(number: int) -> str:
    return _METHOD_NAMES.get(number, "unknown")


def _check_kind(path: Path) -> None:
    """Names a file that is no zip at all, or a part of one."""
    with path.open("rb") as file:
        beginning = file.read(_KIND_BYTES)
    for offset, magic, kind in _KINDS:
        if beginning[offset : offset + len(magic)] == magic:
            raise _invalid(f"{path.name} is not a zip", found=kind, expected="a zip")
    if beginning.startswith(_SPLIT_MARK):
        raise _invalid(
            f"{path.name} is a part of a split zip",
            found="the first part of several",
            expected="one zip",
            hint="join the parts (`zip -s 0`), and publish it with its .md5",
        )
