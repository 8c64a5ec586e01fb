"""What a download that has not the expected md5 looks like: cut off, or not a zip at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_ZIP: Final = b"PK\x03\x04"
_END_OF_ZIP: Final = b"PK\x05\x06"
_LONGEST_END: Final = 22 + 65_535
"""Size of the record at a zip's end, with the longest comment."""
_HEAD: Final = 4096
_TITLE: Final = re.compile(r"<title[^>]*>\s*([^<]{1,80})", re.IGNORECASE)
_MAGIC: Final = (
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON document"),
)


def is_cut(path: Path) -> bool:
    """Whether a file is empty, or a zip without the record that ends each zip."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size == 0:
            return True
        if not file.read(len(_ZIP)).startswith(_ZIP):
            return False
        file.seek(max(size - _LONGEST_END, 0))
        return _END_OF_ZIP not in file.read()


def other_kind(path: Path) -> str | None:
    """Names what a file is instead of a zip; None if it is a zip or nothing known."""
    with path.open("rb") as file:
        head = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = head[:_HEAD].lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!--", b"<script")) or (
        b"<html" in lower
    ):
        title = _TITLE.search(head.decode("utf-8", "replace"))
        return f"an HTML page titled {title[1].strip()!r}" if title else "an HTML page"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)
