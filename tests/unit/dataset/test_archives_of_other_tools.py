"""Zips as programs on Windows and macOS make them, and files that are no zip at all."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from recsys.dataset import MOVIES_CSV, RATINGS_CSV, open_dataset
from recsys.errors import DatasetError

RATINGS = b"userId,movieId,rating,timestamp\n" + b"1,1,4.0,964982703\n" * 50
MOVIES = b"movieId,title,genres\n1,Toy Story (1995),Comedy\n"
CONTENT = {RATINGS_CSV: RATINGS, MOVIES_CSV: MOVIES}


class Unseekable(io.BytesIO):
    """A pipe: sizes and checksums follow each entry, in a data descriptor."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        raise OSError("a pipe")

    def seekable(self) -> bool:
        return False


def written(names: dict[str, bytes], target: io.BytesIO | None = None, **options: int) -> bytes:
    target = target or io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content, **options)
    return target.getvalue()


def windows(separator: str = "\\") -> bytes:
    """Explorer and .NET: backslashes between folders, and an entry for the folder."""
    names = {f"ml{separator}": b""} | {f"ml{separator}{n}": c for n, c in CONTENT.items()}
    # zipfile itself writes slashes.
    return written({n.replace("\\", "/"): c for n, c in names.items()}).replace(
        b"ml/", b"ml" + separator.encode()
    )


def macos() -> bytes:
    resources = {
        "__MACOSX/._ml": b"\0\5\x16\7",
        "__MACOSX/ml/._ratings.csv": b"\0\5\x16\7",
        "__MACOSX/ml/ratings.csv": b"\0\5\x16\7",
        "ml/._movies.csv": b"\0\5\x16\7",
        "ml/.DS_Store": b"\0\0\0\1Bud1",
    }
    return written({"ml/": b""} | resources | {f"ml/{n}": c for n, c in CONTENT.items()})


def in_directory(old: bytes, new: bytes) -> bytes:
    """Changes names in the directory, and not those at the entries."""
    content = written({f"ml/{name}": data for name, data in CONTENT.items()})
    start = content.index(b"PK\x01\x02")
    return content[:start] + content[start:].replace(old, new)


READ = {
    "no folder": written(CONTENT),
    "Windows": windows(),
    "backslashes in the directory only": in_directory(b"ml/", b"ml\\"),
    "macOS": macos(),
    "upper case": written({"ML/RATINGS.CSV": RATINGS, "ML/Movies.csv": MOVIES}),
    "data descriptors": written(CONTENT, Unseekable()),
    "stored": written(CONTENT, compress_type=zipfile.ZIP_STORED),
    "self-extracting": b"MZ" + bytes(500) + written(CONTENT),
    "other case beside the file": written(CONTENT | {"old/Ratings.csv": b"x"}),
}


@pytest.mark.parametrize("kind", READ)
def test_a_zip_of_another_program_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(READ[kind])
    with open_dataset(path) as archive:
        for name, content in CONTENT.items():
            assert b"".join(archive.chunks(name)) == content


def with_method(number: int) -> bytes:
    content = bytearray(written(CONTENT))
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        struct.pack_into("<H", content, at + 10, number)
    return bytes(content)


def tar(mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        for name, content in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


REFUSED = {
    "Deflate64": (with_method(9), "method 9 (Deflate64)", "Windows Explorer"),
    "bzip2": (with_method(12), "method 12 (bzip2)", "Deflate"),
    "Zstandard": (with_method(93), "method 93 (Zstandard)", "Deflate"),
    "tar.gz": (tar("gz"), "gzip", "create the zip"),
    "tar": (tar(""), "a tar archive", "create the zip"),
    "gzip": (gzip.compress(RATINGS), "gzip", "create the zip"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(500), "a 7z archive", "create the zip"),
    "RAR": (b"Rar!\x1a\x07\x01\x00" + bytes(500), "a RAR archive", "create the zip"),
    "CSV": (RATINGS, "a CSV", "create the zip"),
    "split": (b"PK\x07\x08" + written(CONTENT)[:100], "first part", "join the parts"),
    "gzip inside": (
        written({"ratings.csv.gz": gzip.compress(RATINGS), MOVIES_CSV: MOVIES}),
        "ratings.csv.gz",
        "ratings.csv.gz is an archive inside the zip",
    ),
    "other names": (
        written({"rating.csv": RATINGS, "movie.csv": MOVIES}),
        "rating.csv, movie.csv",
        "rename rating.csv to ratings.csv",
    ),
    "other names at the entries": (in_directory(b"ml/", b"xx/"), "differ", "create the zip"),
    "several": (
        written(CONTENT | {"copy\\ratings.csv": RATINGS}).replace(b"copy/", b"copy\\"),
        "ratings.csv, ",
        "keep one ratings.csv",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, kind: str) -> None:
    content, found, hint = REFUSED[kind]
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught, open_dataset(path) as archive:
        list(archive.chunks(RATINGS_CSV))
    assert found in str(caught.value.found)
    assert hint in caught.value.hint
    assert "publish it with its .md5" in caught.value.hint
