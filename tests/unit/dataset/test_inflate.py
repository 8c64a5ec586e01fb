"""Every library that inflates accepts and returns the same."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.dataset import MOVIES_CSV, RATINGS_CSV, open_dataset
from recsys.dataset.inflate import ENGINES, ZLIB, DamagedEntryError, Engine, checked, inflated
from recsys.errors import DatasetError
from tests.examples import examples

contents = st.one_of(
    st.binary(max_size=2000),
    st.integers(0, 400_000).map(bytes),
    st.lists(st.integers(1, 99), max_size=3000).map(lambda n: ",".join(map(str, n)).encode()),
)
engines = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: str(engine.name))


def deflate(content: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return deflater.compress(content) + deflater.flush()


def read(stored: bytes, size: int, crc: int, engine: Engine) -> bytes:
    return b"".join(checked(inflated(io.BytesIO(stored), engine), size, crc, engine))


def test_isa_l_is_the_first_choice_where_it_is_installed() -> None:
    assert [engine.name for engine in ENGINES] == ["ISA-L", "zlib"]


@engines
@settings(max_examples=examples(100))
@given(
    contents,
    st.integers(0, 9),
    st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED, zlib.Z_RLE]),
    st.binary(max_size=20),
)
def test_what_was_deflated_is_inflated(
    engine: Engine, content: bytes, level: int, strategy: int, behind: bytes
) -> None:
    stored = deflate(content, level, strategy)
    assert read(stored + behind, len(content), zlib.crc32(content), engine) == content


@settings(max_examples=examples(300))
@given(contents, st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))))
def test_no_library_accepts_other_bytes_than_the_stated_ones(
    content: bytes, changes: list[tuple[int, bytes]]
) -> None:
    stored = bytearray(deflate(content))
    for place, new in changes:
        stored[place % len(stored) : place % len(stored) + len(new)] = new
    for engine in ENGINES:
        try:
            assert read(bytes(stored), len(content), zlib.crc32(content), engine) == content
        except DamagedEntryError:
            assert changes


@engines
@pytest.mark.parametrize(
    ("stored", "size", "crc"),
    [
        (deflate(b"x" * 1000)[:-1], 1000, zlib.crc32(b"x" * 1000)),
        (b"", 0, 0),
        (deflate(b"x" * 1000), 999, zlib.crc32(b"x" * 1000)),
        (deflate(b"x" * 1000), 1001, zlib.crc32(b"x" * 1000)),
        (deflate(b"x" * 1000), 1000, 1),
        (b"\xff" * 100, 100, 0),
        (zlib.compress(b"x" * 1000), 1000, zlib.crc32(b"x" * 1000)),
    ],
    ids=[
        *("cut", "nothing", "smaller size", "larger size", "checksum"),
        *("no block of this type", "zlib's header"),
    ],
)
def test_damage_is_an_error(engine: Engine, stored: bytes, size: int, crc: int) -> None:
    with pytest.raises(DamagedEntryError):
        read(stored, size, crc, engine)


@engines
def test_a_bomb_ends_at_the_stated_size(engine: Engine) -> None:
    """One that states 1,000 bytes and inflates to a gigabyte."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = b"".join(deflater.compress(bytes(1 << 24)) for _ in range(64)) + deflater.flush()
    source = io.BytesIO(stored)
    with pytest.raises(DamagedEntryError, match="more bytes than the 1000"):
        list(checked(inflated(source, engine), 1000, 0, engine))
    sizes = [len(chunk) for chunk in inflated(io.BytesIO(stored), engine)]
    assert max(sizes) <= 1 << 20
    assert sum(sizes) == 1 << 30


@engines
def test_every_engine_reads_an_archive_and_detects_its_damage(
    tmp_path: Path, engine: Engine
) -> None:
    ratings = b"userId,movieId,rating,timestamp\n" + b"1,1,4.0,964982703\n" * 50_000
    path = tmp_path / "x.zip"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("ml/ratings.csv", ratings)
            archive.writestr("ml/movies.csv", b"movieId,title,genres\n")
        with open_dataset(path, engine=engine) as opened:
            assert b"".join(opened.chunks(RATINGS_CSV)) == ratings
            assert b"".join(opened.chunks(MOVIES_CSV)) == b"movieId,title,genres\n"
        content = bytearray(path.read_bytes())
        content[len(content) // 4] ^= 1
        path.write_bytes(content)
        with open_dataset(path, engine=engine) as opened, pytest.raises(DatasetError):
            list(opened.chunks(RATINGS_CSV))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_checksums_continue_alike(chunks: list[bytes]) -> None:
    for engine in ENGINES:
        found = 0
        for chunk in chunks:
            found = engine.crc32(chunk, found)
        assert found == ZLIB.crc32(b"".join(chunks), 0)
