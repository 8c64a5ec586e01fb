"""What the released vectors answer: movies like one, movies for a user; the live pair only."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import polars as pl
from psycopg import sql
from psycopg.errors import UndefinedTable
from psycopg.rows import dict_row

from recsys import contract, vector_search, vector_store
from recsys.errors import LedgerError, PermanentError
from recsys.ledger import Connection
from recsys.newcomers import FoldIn
from recsys.services import Services

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_ID_DIGITS = 10
_ARTICLE = re.compile(r"^(.*), (the|a|an|le|la|les|el|il|das|der|die)$")


@dataclass(frozen=True)
class Movie:
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


def current_release(conn: Connection) -> dict[str, Any]:
    """The row that readers start from.

    Raises:
        LedgerError: nothing was promoted yet.
    """
    row = None
    # In a new database there is no ledger yet.
    with suppress(UndefinedTable), conn.cursor(row_factory=dict_row) as cur:
        row = cur.execute("select * from recsys.current_release").fetchone()
    if row is None:
        raise LedgerError("nothing was promoted yet", hint="run `recsys demo` or `recsys run`")
    return row


class Catalogue:
    """Titles of the dataset that the current release was made of.

    Args:
        movies: columns movieId, title, genres as in ``movies.parquet``.
    """

    def __init__(self, movies: pl.DataFrame) -> None:
        self._movies = {
            row["movieId"]: Movie(row["movieId"], row["title"], tuple(row["genres"] or ()))
            for row in movies.iter_rows(named=True)
        }

    @classmethod
    def of(cls, services: Services, dataset_md5: str) -> Catalogue:
        """Reads the movies of a dataset from the store."""
        data = services.store.get_bytes(contract.features_key(dataset_md5, contract.MOVIES_FILE))
        return cls(pl.read_parquet(io.BytesIO(data)))

    def __len__(self) -> int:
        return len(self._movies)

    def movie(self, movie_id: int, score: float | None = None) -> Movie:
        """The movie with this id, with a score if one is given."""
        known = self._movies.get(movie_id)
        if known is None:
            return Movie(movie_id, f"movie {movie_id}", (), score)
        return Movie(known.movie_id, known.title, known.genres, score)

    def find(self, text: str) -> Movie:
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


def best_known(services: Services) -> int:
    """The movieId of the movie that most users have rated."""
    with services.connect() as conn:
        relation = current_release(conn)["user_towers_table"].split(".")
        [(movie_id,)] = conn.execute(
            sql.SQL(
                "select movie from {}, unnest(seen) movie group by movie "
                "order by count(*) desc, movie limit 1"
            ).format(sql.Identifier(*relation))
        ).fetchall()
    return int(movie_id)


def similar(services: Services, text: str, k: int) -> tuple[dict[str, Any], Movie, list[Movie]]:
    """The ``k`` movies nearest to one, by cosine of the movie vectors.

    Returns:
        The current release, the movie that ``text`` names, and its neighbours, nearest first.
    """
    with services.connect() as conn:
        release = current_release(conn)
        catalogue = Catalogue.of(services, release["dataset_md5"])
        movie = catalogue.find(text)
        found = vector_store.similar(conn, release["movie_vectors_table"], movie.movie_id, k)
    return release, movie, [catalogue.movie(m, score) for m, score in found]


def recommend(services: Services, user_id: int, k: int) -> tuple[dict[str, Any], list[Movie]]:
    """The ``k`` best movies for a user by the towers, without those that the user has rated.

    Returns:
        The current release and the movies, best first.
    """
    with services.connect() as conn:
        release = current_release(conn)
        catalogue = Catalogue.of(services, release["dataset_md5"])
        found = vector_store.recommend(
            conn, release["user_towers_table"], release["movie_towers_table"], user_id, k
        )
    return release, [catalogue.movie(m, score) for m, score in found]


def recommend_to_newcomer(
    services: Services, rated: Sequence[tuple[str, float]], k: int
) -> tuple[dict[str, Any], list[Movie], list[Movie]]:
    """The ``k`` best movies for someone who gave these stars, see `recsys.newcomers`.

    Args:
        services: the stack.
        rated: what names a movie (`Catalogue.find`) and its stars, oldest first.
        k: number of movies.

    Returns:
        The current release, the movies that were named (their score the stars), and the best.
    """
    with services.connect() as conn:
        release = current_release(conn)
        catalogue = Catalogue.of(services, release["dataset_md5"])
        named = {catalogue.find(text).movie_id: stars for text, stars in rated}
        fold_in = FoldIn.of(conn, release["user_towers_table"], release["movie_towers_table"])
        vector = fold_in.newcomer_vector(named)
        found = vector_search.recommend_to(
            conn, release["movie_towers_table"], vector, list(named), k
        )
    return (
        release,
        [catalogue.movie(movie, stars) for movie, stars in named.items()],
        [catalogue.movie(movie, score) for movie, score in found],
    )


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
