"""Writes a dataset in each layout that MovieLens has published, and as other sites write theirs."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import Final

from recsys.contract import DatasetColumns
from recsys.dataset import MOVIES_CSV, NO_GENRES, RATINGS_CSV, open_dataset

LAYOUTS: Final = ("1M", "10M", "100K", "other names", "no genres", "given names")
GIVEN: Final = DatasetColumns(
    ratings_file="Events.csv",
    user="reader",
    item="isbn",
    rating="grade",
    timestamp="read at",
    items_file="books.csv",
    title="book",
    categories="shelf",
)
"""The names in the layout "given names", in which no name is one that is found by itself."""


def write_in_layout(source: Path, path: Path, layout: str) -> None:
    """Writes the rows of a CSV dataset to another zip, with its md5 beside it.

    Ratings become whole stars for 100K and 1M, whose users give no half ones.
    """
    with open_dataset(source) as archive:
        ratings = _rows(archive.chunks(RATINGS_CSV))
        movies = _rows(archive.chunks(MOVIES_CSV))
    if layout in ("100K", "1M"):
        ratings = [[u, m, str(math.ceil(float(stars))), t] for u, m, stars, t in ratings]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in _files(ratings, movies, layout).items():
            written.writestr(f"ml/{name}", content)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    Path(f"{path}.md5").write_text(f"{md5}  {path.name}\n")


def _rows(chunks: object) -> list[list[str]]:
    text = b"".join(chunks).decode()  # type: ignore[call-overload]
    return [*csv.reader(io.StringIO(text))][1:]


def _files(ratings: list[list[str]], movies: list[list[str]], layout: str) -> dict[str, bytes]:
    if layout in ("1M", "10M"):
        encoding = "latin-1" if layout == "1M" else "utf-8"
        return {
            "ratings.dat": _lines("::", ratings).encode(encoding),
            "movies.dat": _lines("::", movies).encode(encoding, "replace"),
            "users.dat": b"1::F::1::10::48067\n",
        }
    if layout == "100K":
        names = sorted({g for *_, genres in movies for g in genres.split("|")} - {NO_GENRES})
        flagged = [
            [movie, title, "01-Jan-1995", "", "http://example.org/"]
            + ["1" if genres == NO_GENRES else "0"]
            + ["1" if name in genres.split("|") else "0" for name in names]
            for movie, title, genres in movies
        ]
        named = [[name, str(number)] for number, name in enumerate(["unknown", *names])]
        return {
            "u.data": _lines("\t", ratings).encode(),
            "u.item": _lines("|", flagged).encode("latin-1", "replace"),
            "u.genre": (_lines("|", named) + "\n").encode(),
            "u1.base": b"1\t1\t5\t874965758\n",
        }
    written = {}
    headers = {
        "other names": (["user_id", "item_id", "stars", "time"], ["id", "name", "categories"]),
        "no genres": (["userId", "movieId", "rating", "timestamp"], ["movieId", "title"]),
        "given names": (["reader", "isbn", "grade", "Read At"], ["isbn", "book", "shelf"]),
    }
    files = {"other names": (RATINGS_CSV, "items.csv"), "given names": ("events.csv", "books.csv")}
    names = files.get(layout, (RATINGS_CSV, MOVIES_CSV))
    for name, header, rows in zip(names, headers[layout], (ratings, movies), strict=True):
        text = io.StringIO()
        csv.writer(text).writerows([header, *(row[: len(header)] for row in rows)])
        written[name] = text.getvalue().encode()
    return written


def _lines(separator: str, rows: list[list[str]]) -> str:
    return "".join(separator.join(row) + "\n" for row in rows)
