"""Titles of the movies of a release's dataset, and a search that finds the movie a text names.

site/recsys_site/catalog.py also searches titles, but may not import this package; it says how the
two differ. tests/site/test_same_as_pipeline.py compares them on the same titles.
"""

from __future__ import annotations

import io
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import polars as pl

from recsys import contract
from recsys.errors import PermanentError
from recsys.services import Services

_YEAR: Final = re.compile(r"\s*\((\d{4})\)\s*$")
_ACCENTS: Final = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_MAX_ID_DIGITS: Final = 10
_ARTICLE: Final = re.compile(
    r"^(.+), (the|a|an|le|la|les|l'|el|los|las|il|lo|das|der|die|den|det|un|une)$"
)


@dataclass(frozen=True)
class ScoredMovie:
    """A movie, with a score if a query returned it.

    Attributes:
        movie_id: id in the dataset.
        title: as in the dataset, with the year.
        genres: as in the dataset.
        score: cosine similarity, inner product of the towers, or stars; None outside of a query.
    """

    movie_id: int
    title: str
    genres: tuple[str, ...]
    score: float | None = None


class Catalog:
    """Titles of the dataset that a release was made from.

    Args:
        movies: columns movieId, title, genres, as in ``movies.parquet``.
    """

    def __init__(self, movies: pl.DataFrame) -> None:
        self._movies = {
            row["movieId"]: ScoredMovie(row["movieId"], row["title"], tuple(row["genres"] or ()))
            for row in movies.iter_rows(named=True)
        }

    @classmethod
    def of(cls, services: Services, dataset_md5: str) -> Catalog:
        """Reads the movies of a dataset from the object store."""
        data = services.store.get_bytes(contract.titles_key(dataset_md5))
        return cls(pl.read_parquet(io.BytesIO(data)))

    def __len__(self) -> int:
        return len(self._movies)

    def movie(self, movie_id: int, score: float | None = None) -> ScoredMovie:
        """Returns the movie with this id; one that the dataset lacks gets its id as title."""
        movie = self._movies.get(movie_id)
        if movie is None:
            return ScoredMovie(movie_id, f"movie {movie_id}", (), score)
        return ScoredMovie(movie.movie_id, movie.title, movie.genres, score)

    def find(self, text: str) -> ScoredMovie:
        """Finds the movie that a text names: a movieId, a title with or without year, or a part.

        Among several titles, the closest one is taken, then one of the year given, then the
        shortest.

        Raises:
            PermanentError: no title contains the text.
        """
        if text.isdecimal() and len(text) <= _MAX_ID_DIGITS and int(text) in self._movies:
            return self._movies[int(text)]
        name, stored_name, year = _reading_order(text), _without_year(text), _year(text)
        ranked = sorted(
            (
                _distance(name, movie.title),
                year is not None and year != _year(movie.title),
                len(movie.title),
                movie.movie_id,
            )
            for movie in self._movies.values()
            if stored_name
            and (name in _reading_order(movie.title) or stored_name in _without_year(movie.title))
        )
        if not ranked:
            raise PermanentError(
                "no movie has this title",
                found=text,
                expected=f"part of one of {len(self)} titles, or a movieId",
            )
        return self._movies[ranked[0][-1]]


def _reading_order(title: str) -> str:
    """Returns ``the matrix`` for ``Matrix, The (1999)`` and for ``The Matrix``."""
    name, parenthesis, rest = _without_year(title).partition(" (")
    if match := _ARTICLE.match(name):
        gap = "" if match[2].endswith("'") else " "
        name = f"{match[2]}{gap}{match[1]}"
    return name + parenthesis + rest


def _without_year(title: str) -> str:
    return _plain(_YEAR.sub("", title).strip())


def _plain(text: str) -> str:
    """Removes case and accents of Latin letters; composed and decomposed text become the same."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))


def _year(title: str) -> str | None:
    match = _YEAR.search(title)
    return match[1] if match else None


def _distance(name: str, title: str) -> int:
    """How far a title is from a name: 0 equal, 1 equal but for a parenthesis, 2 begins with it."""
    other = _reading_order(title)
    if name == other:
        return 0
    if name == other.partition(" (")[0]:
        return 1
    return 2 if other.startswith(name) else 3
