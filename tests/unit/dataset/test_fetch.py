from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.dataset.md5_file import MAX_MD5_FILE_BYTES, parse_md5
from recsys.errors import DatasetError

MD5 = "5ab199f406fdfb46d2b58cd410331731"
OTHER = "0123456789abcdef0123456789abcdef"

hexes = st.text("0123456789abcdefABCDEF", min_size=32, max_size=32)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ()._-]{0,30}\.zip", fullmatch=True)


@given(hexes, names, st.sampled_from(["\n", "\r\n", ""]), st.sampled_from(["", "\ufeff"]))
def test_every_common_format_is_parsed(md5: str, name: str, end: str, bom: str) -> None:
    for line in (
        f"MD5 ({name}) = {md5}",
        f"{md5}  {name}",
        f"{md5} *{name}",
        md5,
        f"{md5}  ./{name}",
    ):
        assert parse_md5(f"{bom}{line}{end}".encode(), name) == md5.lower()


@given(st.binary(max_size=200))
def test_any_content_is_either_an_md5_or_an_error(content: bytes) -> None:
    try:
        found = parse_md5(content, "x.zip")
    except DatasetError:
        return
    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")


def test_among_several_lines_the_name_decides() -> None:
    content = f"# checksums\n{OTHER}  ml-25m.zip\n{MD5}  ml-latest-small.zip\n".encode()
    assert parse_md5(content, "ml-latest-small.zip") == MD5


def test_the_name_in_a_single_line_is_ignored() -> None:
    assert parse_md5(f"MD5 (ml-latest-small.zip) = {MD5}".encode(), "renamed.zip") == MD5


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\n \r\n", "an empty file"),
        (b"<!DOCTYPE html>\n<html><body>Not here</body></html>", "an HTML page"),
        (b"x" * (MAX_MD5_FILE_BYTES + 1), "more than 4 KB"),
        (MD5[:-1].encode(), MD5[:-1]),
        (f"{MD5}0".encode(), f"{MD5}0"),
        (f"{MD5}\nand more".encode(), "and more"),
        (f"'; drop table releases; --{MD5}".encode(), "drop table"),
        (f"{MD5}  a.zip\n{OTHER}  b.zip".encode(), "2 different md5s"),
        (f"{MD5}  x.zip\n{OTHER}  x.zip".encode(), "2 different md5s"),
        (b"\xff\xfe\x00", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_invalid_md5_file_is_rejected_with_the_command_that_creates_one(
    content: bytes, found: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_md5(content, "x.zip")
    assert found in str(caught.value.found)
    assert "md5sum x.zip > x.zip.md5" in str(caught.value)
