"""Validation rules for the rows of a dataset.

A row is one line: a line break ends it even inside quotes. So a stray quote invalidates one row,
not the rest of the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import polars as pl

from recsys.contract import NARROW, STARS, IdBits, RatingScale, max_id
from recsys.dataset import MOVIES_CSV, NO_GENRES, RATINGS_CSV
from recsys.errors import DatasetError
from recsys.evaluation import ID_TYPES
from recsys.features.rules import MAX_TIMESTAMP, Rule

MAX_TITLE: Final = 500
MAX_TEXT: Final = 300
"""Maximum number of characters of a rejected row that quarantine stores."""
MAX_COLUMNS: Final = 100
"""Maximum number of columns: each column takes memory for every row of a block."""


QUARANTINE_SCHEMA: Final = pl.Schema(
    {
        "rule": pl.Enum([rule.value for rule in Rule if rule is not Rule.ERASED]),
        "file": pl.Enum([RATINGS_CSV, MOVIES_CSV]),
        "line": pl.UInt32(),
        "text": pl.String(),
    }
)
RATING_SCHEMA: Final = pl.Schema(
    {
        "userId": pl.Int32(),
        "movieId": pl.Int32(),
        "rating": pl.Float32(),
        "timestamp": pl.Int64(),
        "line": pl.UInt32(),
    }
)
MOVIE_SCHEMA: Final = pl.Schema(
    {
        "movieId": pl.Int32(),
        "title": pl.String(),
        "year": pl.Int16(),
        "genres": pl.List(pl.String()),
    }
)


def with_ids(schema: pl.Schema, bits: IdBits) -> pl.Schema:
    """Returns a schema of features for ids of a width; that of 32 bits is the schema itself."""
    ids = dict.fromkeys({"userId", "movieId"} & set(schema), ID_TYPES[bits])
    return pl.Schema({**schema, **ids})


class RatingRow(NamedTuple):
    """One valid row of ratings.csv."""

    user_id: int
    movie_id: int
    rating: float
    timestamp: int


class MovieRow(NamedTuple):
    """One valid row of movies.csv."""

    movie_id: int
    title: str
    year: int | None
    genres: list[str]


ABSENT: Final = -1
"""Position of a column that is not there, whose fields are empty."""
_OPTIONAL: Final = ("genres",)
_OTHER_NAMES: Final = {
    "userId": ("user", "uid", "memberid", "customerid", "accountid"),
    "movieId": ("movie", "itemid", "item", "filmid", "film", "productid"),
    "rating": ("stars", "score"),
    "timestamp": ("time", "ts", "unixtime", "ratedat"),
    "title": ("name", "movietitle", "itemtitle", "itemname"),
    "genres": ("genre", "categories", "category"),
}
"""Names that other sites give the columns, in the order in which they are looked for."""


NONE_GIVEN: Final[Mapping[str, str]] = MappingProxyType({})
"""Columns have the names of MovieLens, or others that are known."""


@dataclass(frozen=True)
class Header:
    """Layout of a CSV, from its first line.

    Attributes:
        width: number of fields of a row.
        positions: index of each column, in the order of the `find_columns` argument; `ABSENT` for
            one that a file may lack.
    """

    width: int
    positions: tuple[int, ...]


def find_columns(
    line: str,
    file: str,
    columns: tuple[str, ...],
    separator: str = ",",
    given: Mapping[str, str] = NONE_GIVEN,
) -> tuple[Header, bool] | None:
    """Finds the required columns in the first line of a CSV; other columns are ignored.

    Case, blanks, ``_``, ``-`` and points in names do not matter: ``User ID`` is ``userId``. A
    column may have one of `_OTHER_NAMES`, and genres may be missing.

    Args:
        line: the first line.
        file: name of the file, for messages.
        columns: the required columns.
        separator: between fields.
        given: names by which columns are looked for, and by no other; by the required ones.

    Returns:
        The header, and whether blanks surround the names; None if a column is missing or occurs
        twice.

    Raises:
        DatasetError: there are more than ``MAX_COLUMNS``.
    """
    if (columns_found := line.count(separator) + 1) > MAX_COLUMNS:
        raise DatasetError(
            f"{file} has too many columns",
            found=columns_found,
            expected=f"at most {MAX_COLUMNS}, including {','.join(columns)}",
            hint="publish the dataset in MovieLens format",
        )
    fields = split_line(line, separator) or []
    plain = [_IN_NAMES.sub("", field.casefold()) for field in fields]
    positions = []
    for column in columns:
        if name := given.get(column):
            position = _named_position(name, fields, plain)
        else:
            position = _position(column, fields, plain, is_catalog="title" in columns)
        if position is None:
            return None
        positions.append(position)
    named = [fields[position] for position in positions if position != ABSENT]
    blanks = any(name != name.strip(" ") for name in named)
    return Header(len(fields), tuple(positions)), blanks


def _named_position(name: str, fields: list[str], plain: list[str]) -> int | None:
    if fields.count(name) == 1:
        return fields.index(name)
    plain_name = _IN_NAMES.sub("", name.casefold())
    return plain.index(plain_name) if plain.count(plain_name) == 1 else None


def _position(column: str, fields: list[str], plain: list[str], *, is_catalog: bool) -> int | None:
    """Returns where a column is, `ABSENT` if it may be missing, or None."""
    if fields.count(column) == 1:
        return fields.index(column)
    if plain.count(column.casefold()) > 1:
        return None
    others = _OTHER_NAMES[column]
    # In a file of ratings, ``id`` is more often the number of the rating.
    if is_catalog and column == "movieId":
        others = (*others, "id")
    for name in (column.casefold(), *others):
        if plain.count(name) == 1:
            return plain.index(name)
    return ABSENT if column in _OPTIONAL else None


def columns_error(
    line: str, file: str, columns: tuple[str, ...], given: Mapping[str, str] = NONE_GIVEN
) -> DatasetError:
    """Returns the error for a first line without the required columns."""
    header = ",".join(given.get(column, column) for column in columns)
    fields = split_line(line, ",") or []
    hint = (
        f"name the columns in the first line of {file}, or say how they are called: "
        "features.columns of the build settings"
    )
    if "::" in line:
        hint = (
            f"this is MovieLens' older format (.dat): write {file} with commas, titles in quotes, "
            f"and the first line {header}"
        )
    elif _is_data(line):
        hint = f"the first line is a row: put the line {header} above it"
    elif "\0" in line or "\N{REPLACEMENT CHARACTER}" in line:
        hint = f"export {file} as CSV, encoded as UTF-8"
    elif line.lstrip().startswith(("<", "{", "[")):
        hint = f"this is HTML, XML or JSON: export {file} as CSV"
    return DatasetError(
        f"{file} does not have the columns of a MovieLens dataset",
        found=",".join(fields) or line or "an empty file",
        expected=header,
        hint=hint,
    )


def _is_data(line: str) -> bool:
    return re.match(r'"?[0-9]+"?\s*[,;\t| ]', line) is not None


def parse_rating(
    line: bytes, header: Header, scale: RatingScale = STARS, id_bits: IdBits = NARROW
) -> RatingRow | Rule:
    """Parses one line of ratings.csv; returns the first rule that it violates, if any."""
    fields = _fields(line, header)
    if isinstance(fields, Rule):
        return fields
    if not (_is_whole(fields[0]) and _is_whole(fields[1]) and _is_whole(fields[3])):
        return Rule.WRONG_TYPE
    if not _DECIMAL.fullmatch(fields[2]):
        return Rule.WRONG_TYPE
    row = RatingRow(_whole(fields[0]), _whole(fields[1]), float(fields[2]), _whole(fields[3]))
    largest = max_id(id_bits)
    if not 1 <= row.user_id <= largest:
        return Rule.USER_ID_RANGE
    if not 1 <= row.movie_id <= largest:
        return Rule.MOVIE_ID_RANGE
    if not scale.contains(row.rating):
        return Rule.RATING_RANGE
    if not 0 <= row.timestamp < MAX_TIMESTAMP:
        return Rule.TIMESTAMP_RANGE
    return row


def parse_movie(line: bytes, header: Header, id_bits: IdBits = NARROW) -> MovieRow | Rule:
    """Parses one line of movies.csv; returns the first rule that it violates, if any."""
    fields = _fields(line, header)
    if isinstance(fields, Rule):
        return fields
    if not _is_whole(fields[0]):
        return Rule.WRONG_TYPE
    movie_id, title = _whole(fields[0]), fields[1].strip()
    if not 1 <= movie_id <= max_id(id_bits):
        return Rule.MOVIE_ID_RANGE
    if not 1 <= len(title) <= MAX_TITLE:
        return Rule.TITLE_LENGTH
    year = _YEAR.search(title)
    genres = [genre for genre in map(str.strip, fields[2].split("|")) if genre]
    return MovieRow(
        movie_id, title, int(year[1]) if year else None, [] if genres == [NO_GENRES] else genres
    )


def split_line(text: str, separator: str = ",") -> list[str] | None:
    """Splits one line of a CSV; None if its quotes are not closed."""
    try:
        return next(csv.reader([text], delimiter=separator, strict=True), None)
    except csv.Error:
        return None


def quarantine_frame(rejected: list[tuple[Rule, str, int, bytes]]) -> pl.DataFrame:
    """Makes rows of quarantine.parquet from (rule, file, line number, line); truncates lines."""
    return pl.DataFrame(
        [(rule, file, number, _text(line)) for rule, file, number, line in rejected],
        schema=QUARANTINE_SCHEMA,
        orient="row",
    )


_WHOLE = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_YEAR = re.compile(r"\(((?:18|19|20)[0-9]{2})(?:[-\u2013][0-9]{0,4})?\)$")
_IN_NAMES = re.compile(r"[ _.-]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _is_whole(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None


def _whole(text: str) -> int:
    # 20 digits are out of every range, and int() refuses numbers of more than 4,300 digits.
    sign = "-" if text.startswith("-") else ""
    return int(sign + (text.lstrip("-0")[:20] or "0"))


def _fields(line: bytes, header: Header) -> list[str] | Rule:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Rule.ENCODING
    if _CONTROL.search(text):
        return Rule.ENCODING
    fields = split_line(text)
    if fields is None or len(fields) != header.width:
        return Rule.FIELD_COUNT
    return at_positions(fields, header)


def at_positions(fields: list[str], header: Header) -> list[str]:
    """Returns a row's fields in the order of `find_columns`; an absent column's is empty."""
    return [fields[at] if at != ABSENT else "" for at in header.positions]


def _text(line: bytes) -> str:
    return line[: 4 * MAX_TEXT].decode("utf-8", "backslashreplace")[:MAX_TEXT]
