"""Checks of the entries of an untrusted zip: their paths, sizes and methods, and which are read."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from recsys.errors import DatasetError

RATINGS_CSV: Final = "ratings.csv"
MOVIES_CSV: Final = "movies.csv"
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
_RATIO_FREE_BYTES: Final = 16 << 20
"""The ratio of smaller files is not checked: a file of one repeated line compresses 1000:1."""


def check_entry(entry: zipfile.ZipInfo) -> None:
    """Raises DatasetError if an entry's path leads outside, or it is a link or encrypted."""
    name = entry.orig_filename.replace("\\", "/")
    path = PurePosixPath(name)
    # A path with a drive letter is absolute on Windows.
    if path.is_absolute() or ".." in path.parts or "\0" in name or name[1:2] == ":":
        raise invalid(
            "an entry of the archive has a path outside it",
            found=name,
            expected="relative paths without '..'",
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise invalid("an entry of the archive is a link", found=name, expected="regular files")
    if entry.flag_bits & _ENCRYPTED_FLAG:
        raise invalid("an entry of the archive is encrypted", found=name, expected="no encryption")


def has_entry(entries: list[zipfile.ZipInfo], name: str) -> bool:
    """Returns whether there is a file called ``name`` in any folder."""
    return bool(_matches(_files(entries), name))


def single_entry(
    entries: list[zipfile.ZipInfo], name: str, wanted: tuple[str, ...]
) -> zipfile.ZipInfo:
    """Returns the only file called ``name`` in any folder; raises DatasetError if there is none.

    Args:
        entries: of the archive.
        name: the file.
        wanted: all files of the layout, for the message.
    """
    files = _files(entries)
    matches = _matches(files, name)
    if len(matches) != 1:
        found = ", ".join(e.filename for e in matches[:3]) or ", ".join(
            e.filename for e in files[:10]
        )
        raise DatasetError(
            f"the archive does not contain exactly one {name}",
            found=found or "an empty archive",
            expected=f"{' and '.join(f'one {file}' for file in wanted)}, in any folder",
            hint=_absence_hint(name, files, are_several=bool(matches)),
        )
    return matches[0]


def _files(entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    return [entry for entry in entries if not entry.is_dir() and not _is_resource(entry)]


def _matches(files: list[zipfile.ZipInfo], name: str) -> list[zipfile.ZipInfo]:
    exact = [entry for entry in files if _path(entry).name == name]
    # Programs of systems without upper and lower case change it.
    return exact or [entry for entry in files if _path(entry).name.casefold() == name.casefold()]


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
    stem, _, suffix = name.rpartition(".")
    for entry in files:
        path = _path(entry)
        lower = path.name.casefold()
        if path.suffix.casefold() in _ARCHIVE_SUFFIXES:
            return (
                f"{path.name} is an archive inside the zip: zip {RATINGS_CSV} and {MOVIES_CSV} "
                "themselves, and publish it with its .md5"
            )
        if lower.startswith(stem.removesuffix("s")) and lower.endswith(suffix):
            return f"rename {path.name} to {name} in the zip, and publish it with its .md5"
    return _REPAIR


def check_size(entry: zipfile.ZipInfo, max_bytes: int, max_ratio: float, archive_size: int) -> None:
    """Raises DatasetError for an unknown method, a size over ``max_bytes``, or a zip bomb."""
    if entry.compress_type not in _METHODS:
        raise invalid(
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
        raise invalid(
            f"{entry.filename} is too large",
            found=f"{entry.file_size} bytes",
            expected=f"at most {max_bytes}",
        )
    ratio = entry.file_size / max(min(entry.compress_size, archive_size), 1)
    if entry.file_size > _RATIO_FREE_BYTES and ratio > max_ratio:
        raise invalid(
            f"{entry.filename} has the compression ratio of a zip bomb",
            found=f"{ratio:.0f}:1",
            expected=f"at most {max_ratio:.0f}:1",
        )


def invalid(
    message: str, *, found: object = None, expected: object = None, hint: str = ""
) -> DatasetError:
    """Returns the error of an archive that cannot be read."""
    return DatasetError(message, found=found, expected=expected, hint=hint or _REPAIR)


def _method_name(number: int) -> str:
    return _METHOD_NAMES.get(number, "unknown")


def check_kind(path: Path) -> None:
    """Names a file that is no zip at all, or a part of one."""
    with path.open("rb") as file:
        beginning = file.read(_KIND_BYTES)
    for offset, magic, kind in _KINDS:
        if beginning[offset : offset + len(magic)] == magic:
            raise invalid(f"{path.name} is not a zip", found=kind, expected="a zip")
    if beginning.startswith(_SPLIT_MARK):
        raise invalid(
            f"{path.name} is a part of a split zip",
            found="the first part of several",
            expected="one zip",
            hint="join the parts (`zip -s 0`), and publish it with its .md5",
        )
