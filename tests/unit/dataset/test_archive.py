from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.dataset import MOVIES_CSV, RATINGS_CSV, ArchiveLimits, open_dataset
from recsys.errors import DatasetError

RATINGS = b"userId,movieId,rating,timestamp\n" + b"1,1,4.0,964982703\n" * 50
MOVIES = b"movieId,title,genres\n1,Toy Story (1995),Comedy\n"


def make_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def both(folder: str = "") -> list[tuple[str | zipfile.ZipInfo, bytes]]:
    return [(f"{folder}ratings.csv", RATINGS), (f"{folder}movies.csv", MOVIES)]


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("folder", ["", "ml-latest-small/", "a/b/"])
def test_both_files_are_found_in_any_folder_and_other_files_are_ignored(
    tmp_path: Path, folder: str
) -> None:
    path = make_zip(tmp_path / "x.zip", *both(folder), ("tags.csv", b"x"), ("README.txt", b"x"))
    with open_dataset(path) as archive:
        assert b"".join(archive.chunks(RATINGS_CSV)) == RATINGS
        assert b"".join(archive.chunks(MOVIES_CSV)) == MOVIES
        assert archive.size(RATINGS_CSV) == len(RATINGS)


def test_zip64_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in both():
            with archive.open(str(name), "w", force_zip64=True) as file:
                file.write(content)
    with open_dataset(path) as opened:
        assert b"".join(opened.chunks(RATINGS_CSV)) == RATINGS


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "exactly one ratings.csv"),
        (both()[1:], "exactly one ratings.csv"),
        (both()[:1], "exactly one movies.csv"),
        ([*both(), ("copy/ratings.csv", RATINGS)], "exactly one ratings.csv"),
        ([("ratings.csv/", b""), *both()[1:]], "exactly one ratings.csv"),
        ([*both(), ("../evil.txt", b"x")], "outside"),
        ([*both(), ("a/../../evil.txt", b"x")], "outside"),
        ([*both(), ("/etc/passwd", b"x")], "outside"),
        ([*both(), ("..\\evil.txt", b"x")], "outside"),
        ([*both(), ("C:\\evil.txt", b"x")], "outside"),
        ([*both(), (link("passwd"), b"/etc/passwd")], "link"),
        ([(link("ratings.csv"), b"/etc/passwd"), *both()[1:]], "link"),
        ([*both(), *((f"{i}.txt", b"") for i in range(1000))], "too many files"),
    ],
)
def test_an_archive_without_the_files_or_with_a_malicious_entry_is_rejected(
    tmp_path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], message: str
) -> None:
    path = make_zip(tmp_path / "x.zip", *entries)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(path)
    assert caught.value.hint


def test_an_encrypted_entry_is_rejected(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", *both())
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="encrypted"):
        open_dataset(path)


def test_a_compression_method_without_a_memory_limit_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in both():
            archive.writestr(name, content)
    with pytest.raises(DatasetError, match="method 14"):
        open_dataset(path)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1, -30])
def test_a_truncated_zip_is_rejected(tmp_path: Path, keep: float) -> None:
    path = make_zip(tmp_path / "x.zip", *both())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DatasetError, match="damaged or truncated"):
        open_dataset(path)


def test_an_html_page_instead_of_a_zip_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"<html>moved</html>" * 100)
    with pytest.raises(DatasetError, match="damaged or truncated"):
        open_dataset(path)


def test_damage_inside_an_entry_is_detected_while_reading(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", *both())
    content = bytearray(path.read_bytes())
    content[len("ratings.csv") + 30 + 10] ^= 0xFF
    path.write_bytes(content)
    with open_dataset(path) as archive, pytest.raises(DatasetError, match="damaged"):
        list(archive.chunks(RATINGS_CSV))


def test_a_zip_bomb_with_a_true_directory_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", ("ratings.csv", bytes(32 << 20)), *both()[1:])
    with pytest.raises(DatasetError, match="zip bomb"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (ArchiveLimits(max_archive_bytes=100), "archive is too large"),
        (ArchiveLimits(max_entry_bytes=100), r"ratings\.csv is too large"),
        (ArchiveLimits(max_movies_bytes=10), r"movies\.csv is too large"),
        (ArchiveLimits(max_entries=1), "too many files"),
    ],
)
def test_an_archive_over_a_limit_is_rejected(
    tmp_path: Path, limits: ArchiveLimits, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        open_dataset(make_zip(tmp_path / "x.zip", *both()), limits)


def set_size_in_directory(size: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        struct.pack_into("<I", content, content.find(b"PK\x01\x02") + 24, size)

    return change


def test_an_entry_larger_than_the_directory_states_is_cut_off_and_rejected(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", ("ratings.csv", bytes(32 << 20)), *both()[1:])
    content = bytearray(path.read_bytes())
    set_size_in_directory(1000)(content)
    path.write_bytes(content)
    received: list[bytes] = []
    with open_dataset(path) as archive, pytest.raises(DatasetError, match="damaged"):
        received.extend(archive.chunks(RATINGS_CSV))
    assert len(b"".join(received)) <= 1000


def test_an_entry_smaller_than_the_directory_states_is_rejected(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", *both())
    content = bytearray(path.read_bytes())
    set_size_in_directory(len(RATINGS) + 1000)(content)
    path.write_bytes(content)
    with open_dataset(path) as archive, pytest.raises(DatasetError, match=r"damaged|shorter"):
        list(archive.chunks(RATINGS_CSV))


def test_a_directory_of_millions_of_entries_is_rejected_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    entry = io.BytesIO()
    with zipfile.ZipFile(entry, "w") as archive:
        archive.writestr("x" * 1000, b"")
    whole = entry.getvalue()
    start, end = whole.find(b"PK\x01\x02"), whole.find(b"PK\x05\x06")
    directory = whole[start:end] * 1100
    tail = bytearray(whole[end:])
    struct.pack_into("<II", tail, 12, len(directory), start)
    path.write_bytes(whole[:start] + directory + tail)
    with pytest.raises(DatasetError, match="directory of the archive is too large"):
        open_dataset(path)
