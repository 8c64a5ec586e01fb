"""Ways to break a dataset at its source."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path


def break_md5(source: Path) -> None:
    source.with_name(source.name + ".md5").write_text(f"{'0' * 32}  {source.name}\n")


def lose_md5(source: Path) -> None:
    source.with_name(source.name + ".md5").unlink()


def truncate(source: Path) -> None:
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    rewrite_md5(source)


def md5_of(source: Path) -> str:
    return hashlib.md5(source.read_bytes(), usedforsecurity=False).hexdigest()


def rewrite_md5(source: Path) -> None:
    source.with_name(source.name + ".md5").write_text(f"{md5_of(source)}  {source.name}\n")


def corrupt_rows(source: Path) -> None:
    """Gives every third rating a value that is no number of stars."""
    with zipfile.ZipFile(source) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    [ratings] = [name for name in contents if name.endswith("ratings.csv")]
    lines = contents[ratings].splitlines(keepends=True)
    for i in range(1, len(lines), 3):
        user, movie, _, when = lines[i].split(b",")
        lines[i] = b",".join((user, movie, b"77", when))
    contents[ratings] = b"".join(lines)
    with zipfile.ZipFile(source, "w") as new:
        for name, data in contents.items():
            new.writestr(name, data)
    rewrite_md5(source)
