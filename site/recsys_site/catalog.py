"""The movies of a release's dataset, and a search by title.

src/recsys/recommend/catalog.py also searches titles, but the site's image does not contain that
package. They differ on purpose: the command needs the one movie that a text names, the site lists
all matches. tests/site/test_same_as_pipeline.py compares them on the same titles.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from recsys_site.title_search import TitleSearch
from recsys_site.titles import split_title

_NO_GENRE: Final = "(no genres listed)"


@dataclass(frozen=True)
class Movie:
    """One movie.

    Attributes:
        movie_id: as in the dataset and in every table of the release.
        title: in reading order: ``The Matrix``, not ``Matrix, The (1999)``.
        year: year of release; None if the dataset does not contain it.
        genres: as in the dataset; may be empty.
        other_titles: such as the original one, in reading order; they find the movie too.
    """

    movie_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]
    other_titles: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchResult:
    """The movies that a text finds.

    Attributes:
        movies: best match first.
        approximate: no title contains the words; those of these movies contain similar ones.
    """

    movies: list[Movie]
    approximate: bool = False


class Catalog:
    """All movies of one dataset, by id and by title.

    Args:
        movies: in any order, ids unique.
        popularity: number of users who rated each movie; more popular movies are listed first.

    Attributes:
        counts: the popularity.
    """

    def __init__(self, movies: Iterable[Movie], popularity: Mapping[int, int]) -> None:
        ordered = sorted(
            movies, key=lambda movie: (-popularity.get(movie.movie_id, 0), movie.movie_id)
        )
        self._by_id = {movie.movie_id: movie for movie in ordered}
        self._ordered = ordered
        self.counts = popularity
        self._titles = TitleSearch(
            (movie.title, " ".join((*movie.other_titles, str(movie.year or ""))))
            for movie in ordered
        )

    @classmethod
    def from_parquet(cls, data: bytes, popularity: Mapping[int, int]) -> Catalog:
        """Reads ``movies.parquet`` (columns movieId, title, year, genres)."""
        rows = pl.read_parquet(io.BytesIO(data), columns=["movieId", "title", "year", "genres"])
        return cls((_movie(*row) for row in rows.iter_rows()), popularity)

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
        return self._ordered[:count]

    def search(self, text: str, count: int) -> SearchResult:
        """Finds movies by words of title and year, best match first (`TitleSearch.find`)."""
        found = self._titles.find(text, count)
        return SearchResult([self._ordered[place] for place in found.places], found.approximate)


def _movie(movie_id: int, stored: str, year: int | None, genres: list[str] | None) -> Movie:
    title = split_title(stored)
    kept = tuple(genre for genre in genres or () if genre != _NO_GENRE)
    return Movie(movie_id, title.name, year, kept, title.others)
