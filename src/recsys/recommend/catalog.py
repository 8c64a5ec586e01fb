"""Titles of the movies that the live release knows, and search by title."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import polars as pl

from recsys import contract
from recsys.errors import PermanentError
from recsys.services import Services

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_ID_DIGITS = 10
_ARTICLE = re.compile(r"^(.*), (the|a|an|le|la|les|el|il|das|der|die)$")


@dataclass(frozen=True)
class ScoredMovie:
    """One line of an answer.

    Attributes:
        movie_id: the movie.
        title: as in the dataset, with the year.
        genres: as in the dataset.
        score: cosine similarity, or the inner product of the towers.
    """

    movie_id: int
    title: str
    genres: tuple[str, ...]
    score: float | None = None


class Catalog:
    """Titles of the dataset that the current release was made of.

    Args:
        movies: columns movieId, title, genres as in ``movies.parquet``.
    """

    def __init__(self, movies: pl.DataFrame) -> None:
        self._movies = {
            row["movieId"]: ScoredMovie(row["movieId"], row["title"], tuple(row["genres"] or ()))
            for row in movies.iter_rows(named=True)
        }

    @classmethod
    def of(cls, services: Services, dataset_md5: str) -> Catalog:
        """Reads the movies of a dataset from the store."""
        data = services.store.get_bytes(contract.features_key(dataset_md5, contract.MOVIES_FILE))
        return cls(pl.read_parquet(io.BytesIO(data)))

    def __len__(self) -> int:
        return len(self._movies)

    def movie(self, movie_id: int, score: float | None = None) -> ScoredMovie:
        """The movie with this id, with a score if one is given."""
        known = self._movies.get(movie_id)
        if known is None:
            return ScoredMovie(movie_id, f"movie {movie_id}", (), score)
        return ScoredMovie(known.movie_id, known.title, known.genres, score)

    def find(self, text: str) -> ScoredMovie:
        """The movie that a person means: an id, a title with or without year, or part of one.

        Of several the year given decides, then how much of the title was given.

        Raises:
            PermanentError: no title contains the text.
        """
        if text.isdecimal() and len(text) <= _ID_DIGITS and int(text) in self._movies:
            return self._movies[int(text)]
        wanted, written, year = _plain(text), _without_year(text), _year(text)
        ranked = sorted(
            (
                _distance(wanted, movie.title),
                year is not None and year != _year(movie.title),
                len(movie.title),
                movie.movie_id,
            )
            for movie in self._movies.values()
            if written and (wanted in _plain(movie.title) or written in _without_year(movie.title))
        )
        if not ranked:
            raise PermanentError(
                "no movie has this title",
                found=text,
                expected=f"part of one of {len(self)} titles, or a movieId",
            )
        return self._movies[ranked[0][-1]]


def _plain(title: str) -> str:
    """``Matrix, The (1999)`` and ``the matrix`` become the same."""
    name, aside, rest = _without_year(title).partition(" (")
    if match := _ARTICLE.match(name):
        name = f"{match[2]} {match[1]}"
    return name + aside + rest


def _without_year(title: str) -> str:
    return _YEAR.sub("", title).strip().casefold()


def _year(title: str) -> str | None:
    match = _YEAR.search(title)
    return match[1] if match else None


def _distance(wanted: str, title: str) -> int:
    plain = _plain(title)
    if wanted == plain:
        return 0
    if wanted == plain.partition(" (")[0]:
        return 1
    return 2 if plain.startswith(wanted) else 3
