"""How the files of a dataset are named and written; each layout is read as the CSVs of the newest.

MovieLens has published three layouts: CSV with a header (20M and later), fields separated by ``::``
(1M, 10M), and tabs and bars with a flag for each genre (100K). The older two have no header. Each
is translated while it is read, so that all rules, limits and messages are those of the CSVs. A row
that cannot be translated becomes a CSV row of one field, which validation rejects by name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from recsys.dataset.zip_entries import MOVIES_CSV, RATINGS_CSV

RATING_COLUMNS: Final = ("userId", "movieId", "rating", "timestamp")
MOVIE_COLUMNS: Final = ("movieId", "title", "genres")
NO_GENRES: Final = "(no genres listed)"
_COLUMNS: Final = {RATINGS_CSV: RATING_COLUMNS, MOVIES_CSV: MOVIE_COLUMNS}
_GENRE_NAMES: Final = "u.genre"
_FLAGS_FROM: Final = 5
"""Fields of ``u.item`` before the flags: id, title, two dates, address."""
_UNKNOWN: Final = "unknown"
_GENRES: Final = (
    _UNKNOWN,
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
    *("War", "Western"),
)
"""The genres of MovieLens 100K, in the order of their flags."""

Chunks = Iterable[bytes]
Read = Callable[[str], Chunks]
"""Returns the chunks of an optional file of the archive; of none if it is not there."""
Translate = Callable[[Chunks, Read], Iterator[bytes]]


@dataclass(frozen=True)
class Layout:
    """Names of the files of a dataset, and how they become CSVs.

    Attributes:
        name: for messages.
        files: the file of the archive by the CSV that it is read as.
        translate: yields a CSV, by its name; a file without one is a CSV.
        optional: further files that a translation reads.
    """

    name: str
    files: Mapping[str, str]
    translate: Mapping[str, Translate]
    optional: tuple[str, ...] = ()

    def read(self, csv_name: str, chunks: Chunks, read: Read) -> Iterator[bytes]:
        """Yields ``ratings.csv`` or ``movies.csv``, translated from the chunks of its file."""
        translate = self.translate.get(csv_name)
        if translate is None:
            yield from chunks
        else:
            yield (",".join(_COLUMNS[csv_name]) + "\n").encode()
            yield from translate(chunks, read)


# A comma of these layouts separates nothing: as a separator it would make `1::2::4,5` four fields.
_COMMA_IN_FIELD: Final = b";"


def _rows_of_colons(chunks: Chunks, read: Read) -> Iterator[bytes]:
    """``1::1193::5::978300760``; the digits of a rating need no quotes."""
    held = b""
    for chunk in chunks:
        joined = held + chunk.replace(b",", _COMMA_IN_FIELD)
        # A colon at the end may be the first of two.
        odd = (len(joined) - len(joined.rstrip(b":"))) % 2
        held = joined[len(joined) - odd :]
        yield joined[: len(joined) - odd].replace(b"::", b",")
    yield held


def _rows_of_tabs(chunks: Chunks, read: Read) -> Iterator[bytes]:
    """``196<TAB>242<TAB>3<TAB>881250949``."""
    tab_to_comma = bytes.maketrans(b"\t,", b"," + _COMMA_IN_FIELD)
    for chunk in chunks:
        yield chunk.translate(tab_to_comma)


def _movies_of_colons(chunks: Chunks, read: Read) -> Iterator[bytes]:
    """``1::Toy Story (1995)::Animation|Comedy``; a title may have colons."""

    def fields(line: str) -> list[str]:
        movie, _, rest = line.partition("::")
        title, found, genres = rest.rpartition("::")
        return [movie, title, genres] if found else [line]

    yield from _movies(chunks, fields)


def _movies_of_flags(chunks: Chunks, read: Read) -> Iterator[bytes]:
    """``1|Toy Story (1995)|01-Jan-1995||http://...|0|0|0|1|1|...``, a flag for each genre."""
    named = sorted(
        (int(number), name)
        for name, _, number in (line.partition("|") for line in _lines(read(_GENRE_NAMES)))
        if number.isdecimal() and len(number) < _FLAGS_FROM
    )
    genres = [name for _, name in named] or list(_GENRES)

    def fields(line: str) -> list[str]:
        found = line.split("|")
        flags = found[_FLAGS_FROM:]
        if len(flags) != len(genres) or not {*flags} <= {"0", "1"}:
            return [line]
        chosen = [name for name, flag in zip(genres, flags, strict=True) if flag == "1"]
        return [*found[:2], "|".join(name for name in chosen if name != _UNKNOWN) or NO_GENRES]

    yield from _movies(chunks, fields)


def _movies(chunks: Chunks, fields: Callable[[str], list[str]]) -> Iterator[bytes]:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    for line in _lines(chunks):
        # An empty line is none, in a CSV too.
        writer.writerow(fields(line) if line else [])
        yield written.getvalue().encode()
        written.seek(0)
        written.truncate()


def _lines(chunks: Chunks) -> Iterator[str]:
    """Lines of a small file: those that are not UTF-8 are Latin-1, as MovieLens 100K and 1M are."""
    content = b"".join(chunks)
    for line in content.removesuffix(b"\n").split(b"\n") if content else ():
        ended = line.removesuffix(b"\r")
        try:
            yield ended.decode()
        except UnicodeDecodeError:
            yield ended.decode("latin-1")


def named_csvs(ratings: str | None, items: str | None) -> Layout:
    """Returns the layout of CSVs that are called so; None: as those of MovieLens are."""
    files = {RATINGS_CSV: ratings or RATINGS_CSV, MOVIES_CSV: items or MOVIES_CSV}
    return Layout("CSV of the named files", files, {})


LAYOUTS: Final = (
    Layout("CSV", {RATINGS_CSV: RATINGS_CSV, MOVIES_CSV: MOVIES_CSV}, {}),
    Layout("CSV of other items", {RATINGS_CSV: RATINGS_CSV, MOVIES_CSV: "items.csv"}, {}),
    Layout(
        "MovieLens 1M and 10M",
        {RATINGS_CSV: "ratings.dat", MOVIES_CSV: "movies.dat"},
        {RATINGS_CSV: _rows_of_colons, MOVIES_CSV: _movies_of_colons},
    ),
    Layout(
        "MovieLens 100K",
        {RATINGS_CSV: "u.data", MOVIES_CSV: "u.item"},
        {RATINGS_CSV: _rows_of_tabs, MOVIES_CSV: _movies_of_flags},
        (_GENRE_NAMES,),
    ),
)
"""The first is expected if the files of none are there."""
