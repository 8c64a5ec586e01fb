"""Model files: what Keras writes passes, anything else in the zip does not."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable

import pytest

from recsys.contract import check_model_file
from recsys.errors import ArtifactError

MEMBERS = {
    "metadata.json": b'{"keras_version": "3.15.0"}',
    "config.json": b'{"module": "keras"}',
    "model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(1000),
}
Writer = Callable[[zipfile.ZipFile], None]


def written(write: Writer = lambda archive: None, without: str = "", **options: int) -> io.BytesIO:
    """A file like that of Keras, and what ``write`` adds."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", **options) as archive:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, content in MEMBERS.items():
            if name != without:
                archive.writestr(name, content)
        write(archive)
    out.seek(0)
    return out


def adding(name: str, content: bytes = b"x") -> io.BytesIO:
    return written(lambda archive: archive.writestr(name, content))


def link(name: str) -> io.BytesIO:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return written(lambda archive: archive.writestr(entry, b"/etc/passwd"), without=name)


def changed(offset: int, value: bytes) -> io.BytesIO:
    """The first entry of the central directory with other bytes."""
    data = bytearray(written().getvalue())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(value)] = value
    return io.BytesIO(bytes(data))


@pytest.mark.parametrize(
    "hostile",
    [
        adding("../escaped.py"),
        adding("/etc/cron.d/x"),
        adding("assets/../../x"),
        adding("assets/vocabulary.txt"),
        adding("assets/"),
        adding("..\\escaped.py"),
        adding("payload.py"),
        adding("config.json", b"another one"),
        adding("CONFIG.JSON"),
        link("config.json"),
        link("model.weights.h5"),
        written(without="model.weights.h5"),
        written(without="metadata.json"),
        written(compression=zipfile.ZIP_DEFLATED),
        changed(8, struct.pack("<H", 1)),  # encrypted
        changed(24, struct.pack("<I", 1 << 31)),  # more bytes than are stored
    ],
)
def test_anything_but_the_three_members_is_refused(hostile):
    with pytest.raises(ArtifactError, match=r"model\.keras is not a model's file") as refused:
        check_model_file(hostile, "model.keras")
    assert "what to do" in str(refused.value)


def test_a_name_that_zipfile_cuts_at_a_zero_byte_is_refused():
    whole = written(lambda archive: archive.writestr("config.json?../x", b"{}"), "config.json")
    cut = io.BytesIO(whole.getvalue().replace(b"config.json?", b"config.json\0"))
    with zipfile.ZipFile(cut) as archive:
        assert sorted(archive.namelist()) == sorted(MEMBERS), "it looks like the real one"
    with pytest.raises(ArtifactError):
        check_model_file(cut, "model.keras")


def test_too_large_a_description_is_refused():
    size = struct.pack("<II", 2 << 20, 2 << 20)
    with pytest.raises(ArtifactError, match="2097152 bytes, at most 1048576"):
        check_model_file(changed(20, size), "model.keras")


@pytest.mark.parametrize("content", [b"", b"no zip at all", written().getvalue()[:-30]])
def test_what_is_no_zip_is_refused(content):
    with pytest.raises(ArtifactError, match=r"expected: a zip of metadata\.json"):
        check_model_file(io.BytesIO(content), "model.keras")


def test_what_keras_writes_is_accepted():
    check_model_file(written(), "model.keras")
