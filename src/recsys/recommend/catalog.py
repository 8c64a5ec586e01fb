"""Titles of the movies of a release's dataset, and a search that finds the movie a text names.

site/recsys_site/catalog.py ranks titles alike, but may not import this package. This one also
accepts ids, a wrong year and any part of a title. tests/site/test_same_as_pipeline.py compares them
on the same titles.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from recsys import contract
from recsys.errors import PermanentError
from recsys.recommend.reasons import Reason
from recsys.services import Services

_YEAR: Final = re.compile(r"\s*\((\d{4})\)\s*$")
_ACCENTS: Final = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_MAX_ID_DIGITS: Final = len(str(contract.LARGEST_ID))
_APOSTROPHE: Final = re.compile("['\u2019]")
_NOT_WORDS: Final = re.compile(r"[\W_]+")
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
        score: cosine similarity or inner product of the towers, which order movies; the stars of a
            cold-start user's own movie; None outside of a query.
        because: the user's movie that brought the recommendation; None if none is near enough.
        stars: that the release's model predicts for the user; None if it was not asked.
    """

    movie_id: int
    title: str
    genres: tuple[str, ...]
    score: float | None = None
    because: Reason | None = None
    stars: float | None = None


class Catalog:
    """Titles of the dataset that a release was made from.

    Args:
        movies: columns movieId, title, genres, as in ``movies.parquet``.
        popularity: number of users who rated each movie; of equally good matches, the more popular
            one is found.
    """

    def __init__(self, movies: pl.DataFrame, popularity: Mapping[int, int] | None = None) -> None:
        self._popularity = popularity or {}
        self._movies = {
            row["movieId"]: ScoredMovie(row["movieId"], row["title"], tuple(row["genres"] or ()))
            for row in movies.iter_rows(named=True)
        }

    @classmethod
    def of(
        cls, services: Services, dataset_md5: str, popularity: Mapping[int, int] | None = None
    ) -> Catalog:
        """Reads the movies of a dataset from the object store."""
        data = services.store.get_bytes(contract.titles_key(dataset_md5))
        return cls(pl.read_parquet(io.BytesIO(data)), popularity)

    def __len__(self) -> int:
        return len(self._movies)

    def movie(self, movie_id: int, score: float | None = None) -> ScoredMovie:
        """Returns the movie with this id; one that the dataset lacks gets its id as title."""
        movie = self._movies.get(movie_id)
        if movie is None:
            return ScoredMovie(movie_id, f"movie {movie_id}", (), score)
        return ScoredMovie(movie.movie_id, movie.title, movie.genres, score)

    def find(self, text: str) -> ScoredMovie:
        """Returns the first movie of `find_all`."""
        return self.find_all(text)[0]

    def find_all(self, text: str) -> list[ScoredMovie]:
        """Finds the movies that a text may name: a movieId, a title, or a part; best match first.

        Matches are ranked: the title equals the text, but for what is in parentheses; it begins
        with the text's words; it contains these words; words of it begin with them; it contains the
        text anywhere. Within a rank, those of the year given come first, then the most rated.

        Raises:
            PermanentError: no title contains the text.
        """
        if text.isdecimal() and len(text) <= _MAX_ID_DIGITS and int(text) in self._movies:
            return [self._movies[int(text)]]
        wanted = _Wanted.of(text)
        ranked = sorted(
            (
                rank,
                wanted.year is not None and wanted.year != _year(movie.title),
                -self._popularity.get(movie.movie_id, 0),
                len(movie.title),
                movie.movie_id,
            )
            for movie in self._movies.values()
            if (rank := wanted.rank(movie.title)) is not None
        )
        if not ranked:
            raise PermanentError(
                "no movie has this title",
                found=text,
                expected=f"part of one of {len(self)} titles, or a movieId",
            )
        return [self._movies[movie_id] for *_, movie_id in ranked]


@dataclass(frozen=True)
class _Wanted:
    """A text that names a movie, in the forms that titles are compared with.

    Attributes:
        words: in reading order, as `_words` returns them.
        stored: without year, in the order given.
        year: the year given, or None.
    """

    words: str
    stored: str
    year: str | None

    @classmethod
    def of(cls, text: str) -> _Wanted:
        return cls(_words(_reading_order(text)), _without_year(text), _year(text))

    def rank(self, title: str) -> int | None:
        """Returns how good a match a title is, 0 for the best; None if it is none."""
        if not self.words:
            return None
        reading = _reading_order(title)
        name, searched = _words(reading.partition(" (")[0]), f" {_words(reading)} "
        words = self.words.split()
        if self.words in (name, searched.strip()):
            return 0 if self.words == searched.strip() else 1
        if searched.startswith(f" {self.words} "):
            return 2
        if all(f" {word} " in searched for word in words):
            return 3
        if all(f" {word}" in searched for word in words):
            return 4
        return 5 if self.stored in reading or self.stored in _without_year(title) else None


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


def _words(text: str) -> str:
    """Removes punctuation from plain text: ``avventura l`` for ``avventura, l'``."""
    return _NOT_WORDS.sub(" ", _APOSTROPHE.sub("", text)).strip()
