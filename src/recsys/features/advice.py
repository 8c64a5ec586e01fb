"""What to do about invalid rows, from the first rows that violate a rule.

A whole file of invalid rows has one cause: timestamps in milliseconds, a scale of 1 to 10. The
advice names it, so nobody raises the limits to let such a file in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from recsys.contract import (
    LARGEST_ID,
    LARGEST_RATING,
    MIN_STARS,
    NARROW,
    STARS,
    STEP,
    WIDE,
    RatingScale,
    max_id,
)
from recsys.dataset import RATINGS_CSV
from recsys.features.rules import MAX_TIMESTAMP, Rule
from recsys.features.validation import (
    Header,
    at_positions,
    split_line,
)

_WHOLE: Final = re.compile(r"-?[0-9]+")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_WHOLE_FLOAT: Final = re.compile(r"-?[0-9]+\.0*")
_SCIENTIFIC: Final = re.compile(r"-?[0-9]+([.,][0-9]+)?[eE][+-]?[0-9]+")
_DATE: Final = re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([ T].*)?")
_DECIMAL_COMMA: Final = re.compile(r"[0-9]+,[0-9]+")
_GROUPED: Final = re.compile(r"[0-9]{1,3}([ ,.'\u00a0\u202f][0-9]{3})+")
_MISSING: Final = {"", "null", "nan", "na", "n/a", "none", "\\n", "nat", "<na>", "#n/a"}
_UNITS: Final = (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_TOPS: Final = (5, 10, 20, LARGEST_RATING)
"""Where scales usually end."""
_FIRST_UNIT: Final = 10**8
"""Seconds: 1973. A smaller quotient is no plausible time of a rating."""


def advise(
    rule: Rule,
    file: str,
    header: Header | None,
    lines: Sequence[bytes],
    scale: RatingScale = STARS,
) -> str:
    """Returns what to do about rows that violate a rule.

    Args:
        rule: the rule.
        file: name of the file.
        header: its columns; None if unknown.
        lines: some of the rows.
        scale: that the ratings should have.
    """
    rows = [_row(line, header) for line in lines]
    complete = [row for row in rows if row]
    if file == RATINGS_CSV and len(complete) == len(rows):
        if rule is Rule.RATING_RANGE:
            return _rating_range(complete, scale)
        if rule in _OF_RATINGS:
            return _OF_RATINGS[rule](complete)
    elif rule is Rule.MOVIE_ID_RANGE and len(complete) == len(rows):
        return _id_range(0, "movieId")(complete)
    elif rule is Rule.WRONG_TYPE and len(complete) == len(rows):
        return _number_advice("movieId", next(r[0] for r in complete if not _WHOLE.fullmatch(r[0])))
    if rule is Rule.FIELD_COUNT:
        return _field_advice(file, header, lines)
    if rule is Rule.ENCODING:
        return _encoding_advice(file, lines)
    return _OTHERS.get(rule, "")


def _row(line: bytes, header: Header | None) -> list[str] | None:
    fields = split_line(line.decode(errors="replace"))
    if header is None or fields is None or len(fields) != header.width:
        return None
    return at_positions(fields, header)


def _wrong_type(rows: list[list[str]]) -> str:
    for index, name in ((0, "userId"), (1, "movieId"), (3, "timestamp"), (2, "rating")):
        pattern = _NUMBER if name == "rating" else _WHOLE
        for row in rows:
            if not pattern.fullmatch(row[index]):
                return _number_advice(name, row[index])
    return ""


def _number_advice(name: str, value: str) -> str:
    """Names the form of a value that is no number of this column."""
    shown = f"{name} {value[:40]!r}"
    if value.strip().casefold() in _MISSING:
        return f"{shown} is missing: leave such rows out"
    if value.startswith(("'", "=")):
        return f"{shown} is marked as text for a spreadsheet: export the numbers without marks"
    if value != value.strip():
        return f"{shown} has blanks around it: export the numbers without them"
    if _SCIENTIFIC.fullmatch(value):
        return (
            f"{shown} was rounded by a spreadsheet or program, so its digits are lost: format "
            "the column as a whole number and export the original data again"
        )
    if name == "rating" and _DECIMAL_COMMA.fullmatch(value):
        return f"{shown} has a decimal comma: write a point, or separate fields by semicolons"
    if _DATE.fullmatch(value):
        return f"{shown} is a date: write seconds since 1970-01-01 00:00 UTC, such as 964982703"
    if _WHOLE_FLOAT.fullmatch(value):
        return (
            f"{shown} is written as a decimal number, as tools do for a column with missing "
            f"values: write it as a whole number ({value.partition('.')[0]})"
        )
    if _GROUPED.fullmatch(value):
        return f"{shown} has separators between its digits: write digits only"
    if name.endswith("Id"):
        return f"{shown} is no whole number: give each one a number from 1 on"
    return f"{shown} is no number: write digits only"


def _rating_range(rows: list[list[str]], scale: RatingScale) -> str:
    values = [float(row[2]) for row in rows]
    least, largest = min(values), max(values)
    if least < 0:
        return "a negative rating usually means 'not rated': leave such rows out"
    top = next((top for top in _TOPS if max(largest, scale.max) <= top), None)
    if largest > scale.max:
        if top is None:
            return f"map the ratings to a scale that ends at {LARGEST_RATING} or below"
        zero = (
            "if 0 means 'not rated', leave such rows out and write 1 as min; " if not least else ""
        )
        return (
            f"ratings of up to {largest:g} were found, so the scale seems to be "
            f"{min(least, 1):.0f} to {top}: {_scale(min(least, 1), top)}; {zero}ratings of up to "
            f"{scale.max:g} are of that scale too, although they pass"
        )
    if least == 0:
        return (
            "a rating of 0 usually means 'not rated': leave such rows out; if it is the lowest "
            f"of the scale, {_scale(0, scale.max)}"
        )
    if largest < 1:
        return "the scale seems to end at 1: multiply all ratings by 5, in half stars"
    if least < scale.min:
        return (
            f"ratings from {least:g} were found, below the scale of the build settings, {scale}: "
            + _scale(min(least // STEP * STEP, MIN_STARS), scale.max)
        )
    return "round the ratings to half stars: multiples of 0.5"


def _scale(least: float, largest: float) -> str:
    """Says what to write in the build settings so that ratings are read in another scale."""
    return _setting("features.scale", f'{{"min": {least:g}, "max": {largest:g}}}')


def _setting(name: str, value: str) -> str:
    return (
        f"set {name} to {value} in the build settings "
        "(RECSYS_BUILD_SETTINGS, or `build` of the recommender's description)"
    )


def _timestamp_range(rows: list[list[str]]) -> str:
    values = [int(row[3][:30]) for row in rows]
    if min(values) < 0:
        return "timestamps are seconds since 1970-01-01 UTC: these are before it"
    for unit, factor in _UNITS:
        if all(_FIRST_UNIT <= value // factor < MAX_TIMESTAMP for value in values):
            return f"these timestamps are in {unit}: divide them by {factor:,} to get seconds"
    return "write seconds since 1970-01-01 UTC, such as 964982703"


def _id_range(index: int, name: str) -> Callable[[list[list[str]]], str]:
    def advice(rows: list[list[str]]) -> str:
        # More digits than an id has say enough, and int() refuses numbers of thousands.
        digits = len(str(LARGEST_ID)) + 1
        largest = max(int(row[index].lstrip("0")[:digits] or 0) for row in rows)
        if largest > LARGEST_ID:
            return f"{name} is larger than {LARGEST_ID}: number them from 1 on"
        if largest > max_id(NARROW):
            return (
                f"{name} is larger than {max_id(NARROW)}: {_setting('features.id_bits', f'{WIDE}')}"
            )
        return f"{name} starts at 1: add 1 to each if yours start at 0; negative ones mean nobody"

    return advice


def _field_advice(file: str, header: Header | None, lines: Sequence[bytes]) -> str:
    if any(line.count(b'"') % 2 for line in lines):
        return (
            "a quote is not closed in its line, as when a title contains a line break: a row is "
            "one line, so replace line breaks inside titles by blanks, and write quotes as two"
        )
    counts = [len(split_line(line.decode(errors="replace")) or ()) for line in lines]
    if header is None or not counts:
        return ""
    if min(counts) > header.width:
        what = "titles with a comma need quotes" if file != RATINGS_CSV else "look at the commas"
        return f"rows have {min(counts)} fields and the header has {header.width}: {what}"
    return (
        f"rows have {max(counts)} fields and the header has {header.width}: the file was cut, or "
        "its separator changes"
    )


def _encoding_advice(file: str, lines: Sequence[bytes]) -> str:
    for line in lines:
        try:
            line.decode()
        except UnicodeDecodeError:
            shown = line[:60].decode("cp1252", "replace")
            return (
                f"{file} is not UTF-8; as Windows-1252 the row reads {shown!r}: if that is right, "
                f"`iconv -f WINDOWS-1252 -t UTF-8` converts the file, otherwise name its encoding"
            )
    return f"{file} contains control characters: remove them"


_OF_RATINGS: Final[dict[Rule, Callable[[list[list[str]]], str]]] = {
    Rule.WRONG_TYPE: _wrong_type,
    Rule.TIMESTAMP_RANGE: _timestamp_range,
    Rule.USER_ID_RANGE: _id_range(0, "userId"),
    Rule.MOVIE_ID_RANGE: _id_range(1, "movieId"),
}
_OTHERS: Final = {
    Rule.UNKNOWN_MOVIE: "put every rated movie into movies.csv",
    Rule.TITLE_LENGTH: "give every movie a title of 1 to 500 characters",
    Rule.DUPLICATE: "keep one row of each",
}
