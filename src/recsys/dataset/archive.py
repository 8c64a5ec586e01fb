"""Reading a dataset's zip in place, with limits on size and memory; nothing is extracted."""

from __future__ import annotations

import copy
import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from recsys.contract import DETECTED_COLUMNS, DatasetColumns
from recsys.dataset.inflate import ENGINES, Engine, checked, inflated
from recsys.dataset.layouts import LAYOUTS, Layout, named_csvs
from recsys.dataset.zip_entries import (
    RATINGS_CSV,
    check_entry,
    check_kind,
    check_size,
    has_entry,
    invalid,
    single_entry,
)

_READ_BYTES: Final = 1 << 20


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


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of an archive.

    Attributes:
        max_archive_bytes: maximum size of the zip.
        max_entries: maximum number of entries.
        max_entry_bytes: maximum size of ratings.csv, uncompressed; it is read in chunks.
        max_movies_bytes: maximum size of movies.csv and of every other file but ratings.csv,
            uncompressed; they are loaded into memory (MovieLens: 4 MB).
        max_ratio: maximum ratio of uncompressed to compressed size; that of ratings is about 4.
    """

    max_archive_bytes: int = 4 << 30
    max_entries: int = 1000
    max_entry_bytes: int = 16 << 30
    max_movies_bytes: int = 32 << 20
    max_ratio: float = 200.0


class DatasetArchive:
    """An open zip with exactly one ``ratings.csv`` and one ``movies.csv``; see `open_dataset`.

    Files of another layout are read as these two.

    Attributes:
        path: the zip.
        layout: names of the files, and how they are read.
        columns: names of files and columns that are not found by themselves.
    """

    def __init__(
        self, file: _SmallReads, limits: ArchiveLimits, engine: Engine, columns: DatasetColumns
    ) -> None:
        self.path = file.path
        self.columns = columns
        self._engine = engine
        self._file = file
        self._zip = zipfile.ZipFile(file)
        entries = self._zip.infolist()
        if len(entries) > limits.max_entries:
            raise invalid(
                "the archive contains too many files",
                found=len(entries),
                expected=f"at most {limits.max_entries}",
            )
        for entry in entries:
            check_entry(entry)
        self.layout = _find_layout(entries, columns)
        wanted = tuple(self.layout.files.values())
        self._entries = {
            name: single_entry(entries, source, wanted)
            for name, source in self.layout.files.items()
        }
        for optional in self.layout.optional:
            if has_entry(entries, optional):
                self._entries[optional] = single_entry(entries, optional, wanted)
        for name, entry in self._entries.items():
            is_large = name == RATINGS_CSV
            most = limits.max_entry_bytes if is_large else limits.max_movies_bytes
            check_size(entry, most, limits.max_ratio, self.path.stat().st_size)

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
        """Returns the uncompressed size of ``ratings.csv`` or ``movies.csv`` as in the archive."""
        return self._entries[name].file_size

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yields the content of ``ratings.csv`` or ``movies.csv`` in chunks of about 1 MiB.

        Raises:
            DatasetError: the entry is truncated or damaged, or it has another size or checksum than
            the directory states. The checksum is known after the last chunk only.
        """
        yield from self.layout.read(name, self._stored_chunks(name), self._stored_chunks)

    def _stored_chunks(self, name: str) -> Iterator[bytes]:
        entry = self._entries.get(name)
        if entry is None:
            return
        with (
            _damage(f"{Path(entry.filename).name} in {self.path.name}"),
            self._open_stored(entry) as stored,
        ):
            if entry.compress_type == zipfile.ZIP_STORED:
                content = iter(lambda: stored.read(_READ_BYTES), b"")
            else:
                content = inflated(stored, self._engine)
            yield from checked(content, entry.file_size, entry.CRC, self._engine)

    def _open_stored(self, entry: zipfile.ZipInfo) -> IO[bytes]:
        """Opens the bytes of an entry as they are in the archive; zipfile checks its header."""
        stored = copy.copy(entry)
        stored.compress_type = zipfile.ZIP_STORED
        stored.file_size = entry.compress_size
        # Without one zipfile compares none: this is the checksum of the inflated bytes.
        del stored.CRC
        return self._open(stored)

    def _open(self, entry: zipfile.ZipInfo) -> IO[bytes]:
        try:
            return self._zip.open(entry)
        except zipfile.BadZipFile:
            # Some programs on Windows write backslashes into the directory only.
            entry.orig_filename = entry.orig_filename.replace("\\", "/")
            return self._zip.open(entry)


def open_dataset(
    path: Path,
    limits: ArchiveLimits = ArchiveLimits(),
    engine: Engine = ENGINES[0],
    columns: DatasetColumns = DETECTED_COLUMNS,
) -> DatasetArchive:
    """Opens a MovieLens zip of any layout and checks its directory; use it in a ``with`` statement.

    The two files may be in any folder of the archive, and other files are ignored. But an archive
    with any malicious entry (a path outside the archive, a link, encryption) is rejected.

    Args:
        path: the zip.
        limits: of its size and of its entries.
        engine: inflates; by default the fastest that is installed.
        columns: names of its files and columns, if they are not found by themselves.

    Raises:
        DatasetError: not a zip, truncated, malicious, over the limits, or without exactly one
            file of ratings and one of movies.
    """
    size = path.stat().st_size
    if size > limits.max_archive_bytes:
        raise invalid(
            "the archive is too large",
            found=f"{size} bytes",
            expected=f"at most {limits.max_archive_bytes}",
        )
    with _damage(path.name):
        file = _SmallReads(path)
        try:
            return DatasetArchive(file, limits, engine, columns)
        except zipfile.BadZipFile:
            file.close()
            check_kind(path)
            raise
        except BaseException:
            file.close()
            raise


def _find_layout(entries: list[zipfile.ZipInfo], columns: DatasetColumns) -> Layout:
    """Returns the named files, else the first layout with all its files, or with some of them."""
    if columns.ratings_file or columns.items_file:
        return named_csvs(columns.ratings_file, columns.items_file)
    there = [[has_entry(entries, file) for file in one.files.values()] for one in LAYOUTS]
    for are_enough in (all, any):
        for layout, found in zip(LAYOUTS, there, strict=True):
            if are_enough(found):
                return layout
    return LAYOUTS[0]


class _SmallReads(io.FileIO):
    """A file that rejects large reads: zipfile reads the whole directory of an archive at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _READ_BYTES:
            raise invalid(
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


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE_ERRORS as error:
        raise invalid(
            f"{what} is damaged or truncated", found=str(error), expected="a complete zip"
        ) from error
