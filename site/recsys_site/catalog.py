"""The movies of a release's dataset, and a search by title.

src/recsys/recommend/catalog.py also searches titles, but the site's image does not contain that
package. They differ on purpose: the command needs the one movie that a text names, the site lists
all matches. tests/site/test_same_as_pipeline.py compares them on the same titles.
"""

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
_ACCENTS: Final = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_NOT_WORDS: Final = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Movie:
    """One movie.

    Attributes:
        movie_id: as in the dataset and in every table of the release.
        title: in reading order: ``The Matrix``, not ``Matrix, The (1999)``.
        year: year of release; None if the dataset does not contain it.
        genres: as in the dataset; may be empty.
    """

    movie_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]


class Catalog:
    """All movies of one dataset, by id and by title.

    Args:
        movies: in any order, ids unique.
        popularity: number of users who rated each movie; more popular movies are listed first.
    """

    def __init__(self, movies: Iterable[Movie], popularity: Mapping[int, int]) -> None:
        ordered = sorted(
            movies, key=lambda movie: (-popularity.get(movie.movie_id, 0), movie.movie_id)
        )
        self._by_id = {movie.movie_id: movie for movie in ordered}
        self._searched = [
            (f" {_plain(movie.title)} {movie.year or ''} ", movie) for movie in ordered
        ]

    @classmethod
    def from_parquet(cls, data: bytes, popularity: Mapping[int, int]) -> Catalog:
        """Reads ``movies.parquet`` (columns movieId, title, year, genres)."""
        rows = pl.read_parquet(io.BytesIO(data), columns=["movieId", "title", "year", "genres"])
        return cls(
            (
                Movie(
                    movie_id,
                    readable_title(title),
                    year,
                    tuple(g for g in genres or () if g != _NO_GENRE),
                )
                for movie_id, title, year, genres in rows.iter_rows()
            ),
            popularity,
        )

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, movie_id: int) -> Movie | None:
        """Returns the movie with this id, or None."""
        return self._by_id.get(movie_id)

    def movie(self, movie_id: int) -> Movie:
        """Returns the movie with this id; one that the dataset lacks gets its id as title."""
        return self._by_id.get(movie_id) or Movie(movie_id, f"Movie {movie_id}", None, ())

    def most_rated(self, count: int) -> list[Movie]:
        """Returns the ``count`` movies that most users have rated."""
        return [movie for _, movie in self._searched[:count]]

    def search(self, text: str, count: int) -> list[Movie]:
        """Finds movies whose title and year contain every word of ``text``, best match first.

        Matches are ranked: the whole title equals the text; the title begins with it; the title
        contains its words; the title contains words that begin with them. Within a rank, the most
        rated movie comes first.
        """
        wanted = _plain(text)
        words = wanted.split()
        if not words:
            return []
        ranks: tuple[list[Movie], ...] = ([], [], [], [])
        for searched, movie in self._searched:
            if not all(f" {word}" in searched for word in words):
                continue
            if searched.startswith(f" {wanted} "):
                # Only more words of the title, or the year, follow.
                ranks[0 if _plain(movie.title) == wanted else 1].append(movie)
            else:
                ranks[2 if all(f" {word} " in searched for word in words) else 3].append(movie)
        return [movie for movies in ranks for movie in movies][:count]


def readable_title(text: str) -> str:
    """Converts a title as stored, ``Matrix, The (1999)``, to ``The Matrix``."""
    name = _YEAR.sub("", text).strip()
    if match := _ARTICLE.match(name):
        article = match["article"]
        gap = "" if article.endswith("'") else " "
        name = f"{article}{gap}{match['name']}{match['aside'] or ''}"
    return name or text


def _plain(text: str) -> str:
    """Removes case, accents of Latin letters and punctuation: ``amelie`` finds ``Amélie``.

    Other letters remain as they are, in composed form, however text and title were written.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))
    return _NOT_WORDS.sub(" ", _APOSTROPHE.sub("", plain)).strip()
