"""Malicious archives: each is rejected with a clear error and in bounded memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.dataset import MOVIES_CSV, RATINGS_CSV, ArchiveLimits, open_dataset
from recsys.errors import DatasetError
from tests.examples import examples

RATINGS = b"userId,movieId,rating,timestamp\n" + b"1,1,4.0,964982703\n" * 50
MOVIES = b"movieId,title,genres\n1,Toy Story (1995),Comedy\n"
FILES = (("ml/ratings.csv", RATINGS), ("ml/movies.csv", MOVIES))
DIRECTORY, END = b"PK\x01\x02", b"PK\x05\x06"


def zip_of(*files: tuple[str, bytes], zip64: bool = False) -> bytes:
    out = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore", category=UserWarning),
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in files:
            with archive.open(name, "w", force_zip64=zip64) as file:
                file.write(content)
    return out.getvalue()


def read_all(path: Path) -> dict[str, bytes]:
    with open_dataset(path) as archive:
        return {name: b"".join(archive.chunks(name)) for name in (RATINGS_CSV, MOVIES_CSV)}


@contextmanager
def memory_limit(megabytes: float) -> Iterator[None]:
    """Checks that Python's memory, including zlib's, grows by less than this."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1_000_000
    finally:
        tracemalloc.stop()


WHOLE = [zip_of(*FILES), zip_of(*FILES, zip64=True), zip_of(*FILES, ("ml/ü.txt", b"x"))]
bad_numbers = st.sampled_from([0, 1, 2**31, 2**32 - 1]).map(lambda n: struct.pack("<I", n))
# Most of what a reader depends on is in the directory, at the end.
places = st.integers(0, 300).map(lambda back: -1 - back) | st.integers(0, 400)
changes = st.lists(
    st.tuples(places, bad_numbers | st.binary(min_size=1, max_size=8)), min_size=1, max_size=8
)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(WHOLE), changes)
def test_a_zip_with_random_changes_is_either_read_or_rejected(
    tmp_path: Path, whole: bytes, changed: list[tuple[int, bytes]]
) -> None:
    content = bytearray(whole)
    for place, new in changed:
        start = place % len(content)
        content[start : start + len(new)] = new
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    try:
        read = read_all(path)
    except DatasetError:
        return
    assert set(read) == {RATINGS_CSV, MOVIES_CSV}


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(DatasetError):
        open_dataset(path)


def change(content: bytes, signature: bytes, offset: int, form: str, value: int) -> bytes:
    """Returns the zip with another number in the first header with this signature."""
    changed = bytearray(content)
    struct.pack_into(form, changed, content.find(signature) + offset, value)
    return bytes(changed)


def encrypted(content: bytes) -> bytes:
    return change(change(content, DIRECTORY, 8, "<H", 1), b"PK\x03\x04", 6, "<H", 1)


@pytest.mark.parametrize(
    ("content", "message", "found"),
    [
        (zip_of(*FILES, FILES[0]), r"exactly one ratings\.csv", "ml/ratings.csv, ml/ratings.csv"),
        (zip_of(*FILES, FILES[1]), r"exactly one movies\.csv", "ml/movies.csv, ml/movies.csv"),
        (zip_of(*FILES, ("old/ratings.csv", b"")), r"exactly one ratings\.csv", "old/ratings.csv"),
        (zip_of(("ml.zip", WHOLE[0])), r"exactly one ratings\.csv", "ml.zip"),
        (encrypted(WHOLE[0]), "encrypted", "ml/ratings.csv"),
        (change(WHOLE[0], DIRECTORY, 8, "<H", 1), "encrypted", "ml/ratings.csv"),
        (change(WHOLE[0], DIRECTORY, 10, "<H", 99), "unsupported compression method", "method 99"),
        (change(WHOLE[0], DIRECTORY, 24, "<I", 2**32 - 2), "zip bomb", ":1"),
        (change(WHOLE[0], DIRECTORY, 42, "<I", 2**31), "damaged", None),
        (change(WHOLE[0], END, 16, "<I", 2**31), "damaged", None),
        (change(WHOLE[0], DIRECTORY, 28, "<H", 0), "damaged", None),
        (zip_of(*FILES, ("", b"")), "damaged", "index out of range"),
        (WHOLE[0].replace(b"ml/movies.csv", b"ml/movies.cs\0"), "outside", None),
    ],
    ids=[
        *("same path twice", "movies twice", "two folders", "zip in a zip", "encrypted"),
        *("encrypted flag in the directory", "AES", "4 GB stated", "entry beyond the end"),
        *("directory beyond the end", "zero-length name", "no name", "NUL in a name"),
    ],
)
def test_each_malicious_archive_is_rejected_with_its_reason(
    tmp_path: Path, content: bytes, message: str, found: str | None
) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with memory_limit(4), pytest.raises(DatasetError, match=message) as caught:
        read_all(path)
    assert "publish it with its .md5" in caught.value.hint
    assert (found or "") in str(caught.value.found)


def state_one_byte(content: bytes) -> bytes:
    return change(content, DIRECTORY, 24, "<I", 1)


@pytest.mark.parametrize("forge", [bytes, state_one_byte], ids=["true size", "false size"])
def test_a_zip_bomb_takes_no_memory(tmp_path: Path, forge: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(forge(zip_of(("ratings.csv", bytes(64 << 20)), FILES[1])))
    with memory_limit(4), pytest.raises(DatasetError, match=r"zip bomb|damaged"):
        read_all(path)


def test_large_files_within_the_limits_are_read_in_small_chunks(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(zip_of(("ratings.csv", bytes(64 << 20)), FILES[1]))
    with memory_limit(6), open_dataset(path, ArchiveLimits(max_ratio=2000)) as archive:
        assert sum(map(len, archive.chunks(RATINGS_CSV))) == 64 << 20


def test_entries_that_share_their_bytes_are_rejected(tmp_path: Path) -> None:
    """Overlapping entries let a zip bomb evade the limit on the ratio."""
    content = bytearray(WHOLE[0])
    struct.pack_into("<I", content, content.rfind(DIRECTORY) + 42, 0)
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="damaged"):
        read_all(path)
