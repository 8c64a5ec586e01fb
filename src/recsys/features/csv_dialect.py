"""Reads CSV files as other tools write them: encoding, line ends, separator, names of columns.

The dialect belongs to a file and is found from its beginning. A row is then judged by the same
rules in every dialect. A file of UTF-8 text with commas passes through unchanged, at full speed.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from recsys.errors import DatasetError
from recsys.features.csv_quotes import needed_quotes
from recsys.features.validation import (
    NONE_GIVEN,
    Header,
    columns_error,
    find_columns,
    split_line,
)

_SAMPLE_BYTES: Final = 4096
_SAMPLE_LINES: Final = 20
_SEPARATORS: Final = (",", ";", "\t", "|")
_MARKS: Final = (  # UTF-32 first: its mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_TEXT: Final = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip, or a workbook such as .xlsx"),
    (b"\xd0\xcf\x11\xe0", "a workbook (.xls)"),
    (b"PAR1", "a parquet file"),
    (b"SQLite format 3", "a database of SQLite"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
)
# Spreadsheets of some countries write the separator into a first line of its own.
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_MIN_ROWS: Final = 5
"""Ratings that must agree on a trailing separator; fewer may be invalid rows."""
_UTF8_MARK: Final = codecs.BOM_UTF8


def as_utf8(chunks: Iterable[bytes], file: str) -> Iterator[bytes]:
    """Yields a text file as UTF-8 whose lines end with LF or CRLF.

    Args:
        chunks: the file in chunks of any size.
        file: name of the file, for messages.

    Raises:
        DatasetError: the file is not text, or not valid in the encoding that it declares.
    """
    chunks = iter(chunks)
    sample = b""
    while len(sample) < _SAMPLE_BYTES and (chunk := next(chunks, None)) is not None:
        sample += chunk
    for magic, what in _NOT_TEXT:
        if sample.startswith(magic):
            raise DatasetError(
                f"{file} is not a text file",
                found=what,
                expected="a CSV: text, with the names of the columns in the first line",
                hint=f"export {file} as CSV, encoded as UTF-8",
            )
    whole: Iterator[bytes] = chain((sample,), chunks)
    if encoding := _wide_encoding(sample):
        whole = _decoded(whole, encoding, file)
        sample = sample.decode(encoding, "ignore").encode(errors="replace")
    if b"\r" not in sample:
        return whole
    if b"\n" not in sample:
        return (chunk.replace(b"\r", b"\n") for chunk in whole)
    # The first line decides, not any: the same bytes may be within an invalid row of another file.
    if sample.partition(b"\n")[0].endswith(b"\r\r"):
        return (chunk.replace(b"\r", b"") for chunk in whole)
    return whole


def _wide_encoding(sample: bytes) -> str | None:
    """UTF-16 or UTF-32, by the mark or by the zeros between the ASCII letters of a header."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    even, odd = sample[0:16:2], sample[1:16:2]
    if len(sample) < 16 or any(even) == any(odd):
        return None
    return "utf-16-le" if all(even) else "utf-16-be" if all(odd) else None


def _decoded(chunks: Iterable[bytes], encoding: str, file: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            if text := decoder.decode(chunk):
                yield text.encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise DatasetError(
            f"{file} is damaged, or not all of it is in one encoding",
            found=f"it begins as {encoding.upper()}, then: {error}",
            expected="UTF-8",
            hint=f"export {file} again, encoded as UTF-8",
        ) from error


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Attributes:
        header: its columns.
        first_row: line number of the line below the header.
        separator: between fields.
        has_blanks: whether blanks surround the fields.
        decimal: index of a column of decimal numbers, whose comma is a point; None if the
            separator is the comma, or no column has such numbers.
    """

    header: Header
    first_row: int
    separator: str = ","
    has_blanks: bool = False
    decimal: int | None = None

    def with_commas(self, block: bytes) -> bytes:
        """Returns the lines of a block with commas between fields; each line remains one line."""
        if self.separator == "," and not self.has_blanks:
            return block
        translated = self._translated(block)
        if translated is not None:
            return translated
        return b"".join(self._line(line) for line in block.split(b"\n")[:-1])

    def _translated(self, block: bytes) -> bytes | None:
        """Translates all lines at once, for which `_line` takes 20 times as long; None if it can't.

        What it returns is read as the result of `_line` is, but it may be written differently.
        """
        separator = self.separator.encode()
        plain: bytes | None = block
        if self.has_blanks:
            plain = None if b'"' in block else _without_blanks(block, separator)
        elif b'"' in block:
            needed = needed_quotes(np.frombuffer(block, np.uint8), ord(self.separator))
            plain = None if needed.any() else block.translate(None, b'"')
        # A line of blanks or of two quotes is a row with one field, but an empty line is none.
        if plain is None or (plain is not block and (b"\n\n" in plain or plain.startswith(b"\n"))):
            return None
        if separator == b",":
            return plain
        if self.decimal is not None:
            return plain.translate(bytes.maketrans(separator + b",", b",."))
        return None if b"," in plain else plain.replace(separator, b",")

    def _line(self, line: bytes) -> bytes:
        # Bytes that are not UTF-8 remain as they are, for the rule that rejects them.
        text = line.decode(errors="surrogateescape")
        fields = split_line(text, self.separator)
        if fields is None and self.separator == "\t":
            # Databases export tabs without quotes around fields, so a quote is part of its field.
            fields = text.split("\t")
        if not fields:
            return line + b"\n"
        if self.has_blanks:
            fields = [field.strip(" ") for field in fields]
        if self.decimal is not None and self.decimal < len(fields):
            fields[self.decimal] = fields[self.decimal].replace(",", ".")
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerow(fields)
        return written.getvalue().encode(errors="surrogateescape")


def _without_blanks(block: bytes, separator: bytes) -> bytes | None:
    """Returns lines without the blanks around fields; None if there are three or more in a row."""
    # A fixed number of passes, because a line of a million blanks would need as many.
    for _ in range(2):
        block = block.removeprefix(b" ")
        for edge in (separator, b"\n"):
            block = block.replace(b" " + edge, edge).replace(edge + b" ", edge)
    edges = (separator, b"\n")
    if block.startswith(b" ") or any(b" " + e in block or e + b" " in block for e in edges):
        return None
    return block


def read_dialect(
    block: bytes,
    file: str,
    columns: tuple[str, ...],
    decimal: str | None,
    given: Mapping[str, str] = NONE_GIVEN,
) -> tuple[Dialect, bytes]:
    """Finds the dialect of a file from its first lines.

    Args:
        block: the first complete lines of the file, in UTF-8, each ended by LF.
        file: name of the file, for messages.
        columns: names of the required columns.
        decimal: the one that has decimal numbers, if any.
        given: names by which columns are looked for; see `validation.find_columns`.

    Returns:
        The dialect, and the lines below the header.

    Raises:
        DatasetError: a column is missing or occurs twice, or there are too many.
    """
    line, _, rest = block.removeprefix(_UTF8_MARK).partition(b"\n")
    number = 1
    separators: tuple[str, ...] = _SEPARATORS
    if declared := _SEPARATOR_LINE.fullmatch(line.decode(errors="replace").strip()):
        separators = (declared[1],)
        line, _, rest = rest.partition(b"\n")
        number = 2
    text = line.decode(errors="replace")
    for separator in separators:
        found = find_columns(text, file, columns, separator, given)
        if found is None:
            continue
        header, has_blanks = found
        width = _row_width(text, rest, header.width, separator, decimal is not None)
        commas = columns.index(decimal) if decimal and separator != "," else None
        dialect = Dialect(
            Header(width, header.positions),
            number + 1,
            separator,
            has_blanks,
            None if commas is None else header.positions[commas],
        )
        return dialect, rest
    raise columns_error(text, file, columns, given)


def _row_width(header: str, rows: bytes, width: int, separator: str, are_many: bool) -> int:
    """The number of fields of a row: only one of header and rows may end with a separator."""
    lines = [line for line in rows.split(b"\n", _SAMPLE_LINES)[:_SAMPLE_LINES] if line]
    if len(lines) < (_MIN_ROWS if are_many else 1):
        return width
    texts = [line.decode(errors="replace") for line in lines]
    widths = {len(split_line(text, separator) or ()) for text in texts}
    if widths == {width + 1} and all(text.endswith(separator) for text in texts):
        return width + 1
    if widths == {width - 1} and header.rstrip("\r").endswith(separator):
        return width - 1
    return width
