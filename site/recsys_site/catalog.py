"""The movies of a release's dataset: titles as people write them, and a search among them."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

_YEAR: Final = re.compile(r"\s*\((\d{4})\)\s*$")
_ARTICLE: Final = re.compile(
    r"^(?P<name>.+), (?P<article>the|a|an|le|la|les|l'|el|los|las|il|lo|das|der|die|den|det|un|une)"
    r"(?P<aside> \(.*)?$",
    re.IGNORECASE,
)
_NO_GENRE: Final = "(no genres listed)"
_APOSTROPHE: Final = re.compile("['\u2019]")
_NOT_WORDS: Final = re.compile(r"[^0-9a-z]+")


@dataclass(frozen=True)
class Movie:
    """One movie.

    Attributes:
        movie_id: as in the dataset and in every table of the release.
        title: as people write it: ``The Matrix``, not ``Matrix, The (1999)``.
        year: of its first showing, if the dataset tells.
        genres: as in the dataset, perhaps none.
    """

    movie_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]


class Catalog:
    """All movies of one dataset, by id and by words.

    Args:
        movies: in any order, ids unique.
        popularity: how many users have rated a movie; the better known comes first in answers.
    """

    def __init__(self, movies: Iterable[Movie], popularity: Mapping[int, int]) -> None:
        known = sorted(
            movies, key=lambda movie: (-popularity.get(movie.movie_id, 0), movie.movie_id)
        )
        self._by_id = {movie.movie_id: movie for movie in known}
        self._searched = [(f" {_plain(movie.title)} {movie.year or ''} ", movie) for movie in known]

    @classmethod
    def from_parquet(cls, data: bytes, popularity: Mapping[int, int]) -> Catalog:
        """Reads ``movies.parquet``: movieId, title, year and genres."""
        rows = pl.read_parquet(io.BytesIO(data), columns=["movieId", "title", "year", "genres"])
        return cls(
            (
                Movie(
                    movie_id, _title(title), year, tuple(g for g in genres or () if g != _NO_GENRE)
                )
                for movie_id, title, year, genres in rows.iter_rows()
            ),
            popularity,
        )

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, movie_id: int) -> Movie | None:
        """The movie with this id, if there is one."""
        return self._by_id.get(movie_id)

    def movie(self, movie_id: int) -> Movie:
        """The movie with this id; one that the dataset does not name is called by its number."""
        return self._by_id.get(movie_id) or Movie(movie_id, f"Movie {movie_id}", None, ())

    def best_known(self, count: int) -> list[Movie]:
        """The movies that most users have rated."""
        return [movie for _, movie in self._searched[:count]]

    def search(self, text: str, count: int) -> list[Movie]:
        """Films whose title and year hold every word of ``text``, best match first.

        A title that is the text comes before one that begins with it, that before one that has
        its words, and that before one that has their beginnings; among equals the better known.
        """
        wanted = _plain(text)
        words = wanted.split()
        if not words:
            return []
        found: tuple[list[Movie], ...] = ([], [], [], [])
        for searched, movie in self._searched:
            if not all(f" {word}" in searched for word in words):
                continue
            if searched.startswith(f" {wanted} "):
                # The rest of it can only be the year, or more of the title.
                found[0 if _plain(movie.title) == wanted else 1].append(movie)
            else:
                found[2 if all(f" {word} " in searched for word in words) else 3].append(movie)
        return [movie for movies in found for movie in movies][:count]


def _title(text: str) -> str:
    name = _YEAR.sub("", text).strip()
    if match := _ARTICLE.match(name):
        article = match["article"]
        gap = "" if article.endswith("'") else " "
        name = f"{article}{gap}{match['name']}{match['aside'] or ''}"
    return name or text


def _plain(text: str) -> str:
    """Lower case, without accents and punctuation: ``amelie`` finds ``Amélie``."""
    bare = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", text.casefold())
        if not unicodedata.combining(letter)
    )
    return _NOT_WORDS.sub(" ", _APOSTROPHE.sub("", bare)).strip()
