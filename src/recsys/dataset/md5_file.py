"""The md5 file that a source publishes for its zip: reading and parsing."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from recsys.dataset.sources import Source
from recsys.dataset.waiting import while_busy
from recsys.errors import DatasetError

if TYPE_CHECKING:
    from recsys.dataset.settings import FetchSettings

MAX_MD5_FILE_BYTES: Final = 4096

_HEX: Final = "([0-9a-fA-F]{32})"
_LINES: Final = (
    re.compile(rf"MD5 ?\((?P<name>.+)\) ?= ?(?P<md5>{_HEX})"),
    re.compile(rf"\\?(?P<md5>{_HEX})(?: [ *](?P<name>.+))?"),
)


def read_md5(source: Source, settings: FetchSettings) -> str:
    """Reads the md5 that is published for a source; see `parse_md5`."""
    return parse_md5(while_busy(settings, lambda: _read(source)), source.file_name)


def _read(source: Source) -> bytes:
    content = b""
    with source.md5_file().open() as part:
        for chunk in part.chunks:
            content += chunk
            if len(content) > MAX_MD5_FILE_BYTES:
                break
    return content


def parse_md5(content: bytes, file_name: str) -> str:
    """Returns the md5 of ``file_name`` from the content of an md5 file.

    Lines are ``MD5 (name) = hex``, ``hex  name`` or ``hex``. The name in a single line is ignored,
    because files are renamed when they are copied. Among several lines the name decides.

    Returns:
        32 lower-case hex digits.

    Raises:
        DatasetError: the file is too large, empty, not an md5 file, or ambiguous.
    """
    if len(content) > MAX_MD5_FILE_BYTES:
        raise _invalid(file_name, "a file of more than 4 KB")
    text = content.decode("utf-8-sig", "replace")
    lines = [s for line in text.splitlines() if (s := line.strip()) and not s.startswith("#")]
    if not lines:
        raise _invalid(file_name, "an empty file")
    entries: list[tuple[str | None, str]] = []
    for line in lines:
        match = next((m for form in _LINES if (m := form.fullmatch(line))), None)
        if match is None:
            raise _invalid(file_name, "an HTML page" if line.startswith("<") else line)
        name = match["name"]
        entries.append((PurePosixPath(name).name if name else None, match["md5"].lower()))
    with_this_name = {md5 for name, md5 in entries if name == file_name}
    candidates = with_this_name or {md5 for _, md5 in entries}
    if len(candidates) > 1:
        raise _invalid(file_name, f"{len(candidates)} different md5s")
    return candidates.pop()


def _invalid(file_name: str, found: str) -> DatasetError:
    return DatasetError(
        f"the md5 file of {file_name} is invalid",
        found=found,
        expected=f"'MD5 ({file_name}) = <32 hex digits>' or '<32 hex digits>  {file_name}'",
        hint=f"create it with `md5sum {file_name} > {file_name}.md5`",
    )
