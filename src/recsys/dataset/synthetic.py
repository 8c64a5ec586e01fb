"""A made-up dataset in MovieLens format, of any size, with structure that models can learn.

A few movies are popular and most are not; users and movies have biases and latent factors; users
belong to taste groups that prefer genres; they rate in sessions, and their taste moves from one
group to another, so that recent ratings tell more than old ones.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.dataset.archive import MOVIES_CSV, NO_GENRES, RATINGS_CSV
from recsys.errors import ConfigurationError

GENRES: Final = (
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
    *("War", "Western"),
)
_FIRST: Final = (
    *("Silent", "Golden", "Broken", "Hidden", "Last", "Crimson", "Distant", "Endless", "Forgotten"),
    *("Gentle", "Hollow", "Iron", "Lonely", "Midnight", "Northern", "Paper", "Quiet", "Restless"),
    *("Sacred", "Stolen", "Velvet", "Wandering", "Wild", "Winter", "Burning", "Electric"),
)
_SECOND: Final = (
    *("River", "Garden", "Letter", "Stranger", "Empire", "Harbor", "Mirror", "Horizon", "Promise"),
    *("Detective", "Orchard", "Signal", "Station", "Shadow", "Kingdom", "Island", "Voyage"),
    *("Carnival", "Frontier", "Lighthouse", "Melody", "Outlaw", "Professor", "Sparrow", "Tiger"),
    *("Symphony", "Witness", "Café"),
)
_NUMERALS: Final = ("", "", "", "", "", "", " II", " III")

_GROUPS: Final = 8
_GROUPS_OF_USER: Final = 3
_FACTORS: Final = 8
_CHUNK_ROWS: Final = 1_000_000
_ROUNDS: Final = 12
_LEAST_RATINGS: Final = 20
_DAY: Final = 86_400
_FIRST_TIME: Final = 820_454_400
"""1996-01-01."""
_LAST_TIME: Final = 1_704_067_200
"""2024-01-01."""
_YEAR_SECONDS: Final = 31_556_952

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleInfo:
    """A sample that was written.

    Attributes:
        path: the zip; its md5 lies beside it, in a file of the same name with .md5 added.
        md5: 32 hex digits.
        size: bytes.
        ratings: rows of ratings.csv.
        users: users, each with a rating.
        movies: rows of movies.csv, not all of them rated.
    """

    path: Path
    md5: str
    size: int
    ratings: int
    users: int
    movies: int


def write_sample(
    path: Path,
    *,
    ratings: int = 100_000,
    seed: int = 1,
    users: int | None = None,
    movies: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> SampleInfo:
    """Writes a sample and its md5; the same arguments give the same bytes.

    Args:
        path: the zip to make; its folder must exist.
        ratings: rows of ratings.csv.
        seed: of everything that is drawn.
        users: None: one for 165 ratings as in MovieLens, but 30 even in small samples.
        movies: None: as many as MovieLens has for so many ratings.
        progress: told the ratings written, and all of them.

    Raises:
        ConfigurationError: there cannot be so many ratings of so few movies by so few users.
    """
    users = users or max(round(ratings / 165), min(30, math.ceil(ratings / 20)))
    # 9,742 movies at 100,000 ratings and 87,585 at 32 million lie on this curve.
    usual = min(round(9742 * (ratings / 1e5) ** 0.38), ratings // 10)
    movies = movies or max(usual, 3 * math.ceil(ratings / users), 20)
    if not 1 <= users <= ratings <= users * movies:
        raise ConfigurationError(
            "no such sample can be made",
            found=f"{ratings} ratings, {users} users, {movies} movies",
            expected="users <= ratings <= users x movies, all positive",
        )
    world = _World(np.random.default_rng([seed, 0]), movies)
    counts = _counts(np.random.default_rng([seed, 1]), ratings, users, movies)
    partial = path.with_name(path.name + ".partial")
    try:
        # Entries made by name have the date 1980-01-01: no clock gets into the bytes.
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            with archive.open("ml-sample/" + MOVIES_CSV, "w") as file:
                file.write(_csv(world.table(), header=True))
            with archive.open("ml-sample/" + RATINGS_CSV, "w", force_zip64=True) as file:
                done = 0
                for chunk, first in enumerate(_chunk_starts(counts)):
                    rng = np.random.default_rng([seed, 2, chunk])
                    table = _rate(rng, world, counts[first], first.start + 1)
                    file.write(_csv(table, header=chunk == 0))
                    done += table.height
                    if progress:
                        progress(done, ratings)
        with partial.open("rb") as zip_file:
            md5 = hashlib.file_digest(zip_file, _md5).hexdigest()
        md5_path = path.with_name(path.name + ".md5")
        # In this order a crash leaves a zip without an md5, never with another's.
        md5_path.unlink(missing_ok=True)
        partial.replace(path)
        md5_path.write_text(f"MD5 ({path.name}) = {md5}\n")
    finally:
        partial.unlink(missing_ok=True)
    return SampleInfo(path, md5, path.stat().st_size, ratings, users, movies)


class _World:
    """The movies and the taste groups."""

    def __init__(self, rng: np.random.Generator, movies: int) -> None:
        self.movie_ids = np.cumsum(rng.integers(1, 4, movies))
        self.years = np.maximum(1920, 2022 - rng.exponential(20, movies).astype(np.int64))
        self._titles = _titles(rng, self.years)
        frequency = 1 / np.arange(1, len(GENRES) + 1) ** 0.6
        frequency = rng.permutation(frequency / frequency.sum())
        share = np.zeros((movies, len(GENRES)))
        for place in range(3):
            # Every movie draws a first genre, some a second, few a third.
            has = rng.random(movies) < (0.99, 0.65, 0.35)[place]
            share[has, rng.choice(len(GENRES), int(has.sum()), p=frequency)] = 1
        self._has_genre = share > 0
        share /= np.maximum(share.sum(1, keepdims=True), 1)

        preference = rng.normal(0, 1, (_GROUPS, len(GENRES)))
        popularity = 1 / (rng.permutation(movies) + 10.0) ** 0.9
        weight = popularity * np.exp(1.8 * preference @ share.T)
        self.chance = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
        self.popularity = popularity
        genre_factors = rng.normal(0, 1, (len(GENRES), _FACTORS))
        self.movie_factors = share @ genre_factors + rng.normal(0, 0.5, (movies, _FACTORS))
        self.group_factors = preference @ genre_factors / math.sqrt(len(GENRES))
        # What many people see is better liked, a little.
        self.movie_bias = rng.normal(-0.1, 0.4, movies) + 0.15 * (
            np.log(popularity) - np.log(popularity).mean()
        )

    def table(self) -> pl.DataFrame:
        """movies.csv."""
        genres = [
            "|".join(GENRES[i] for i in np.flatnonzero(row)) or NO_GENRES for row in self._has_genre
        ]
        return pl.DataFrame({"movieId": self.movie_ids, "title": self._titles, "genres": genres})


def _titles(rng: np.random.Generator, years: Ints) -> list[str]:
    count = len(years)
    first = rng.integers(len(_FIRST), size=count).tolist()
    second = rng.integers(len(_SECOND), size=(2, count)).tolist()
    form = rng.integers(4, size=count).tolist()
    numeral = rng.integers(len(_NUMERALS), size=count).tolist()
    titles = []
    for i, year in enumerate(years.tolist()):
        noun, other, part = _SECOND[second[0][i]], _SECOND[second[1][i]], _NUMERALS[numeral[i]]
        name = (
            f"{_FIRST[first[i]]} {noun}{part}, The",
            f"{_FIRST[first[i]]} {noun}{part}",
            f"{noun} of the {other}{part}, A",
            f"{noun} and {other}{part}",
        )[form[i]]
        titles.append(f"{name} ({year})")
    return titles


def _counts(rng: np.random.Generator, ratings: int, users: int, movies: int) -> Ints:
    """Ratings of each user: long-tailed, at least one, at most one per movie."""
    least = min(_LEAST_RATINGS, ratings // users, movies)
    most = min(movies, max(math.ceil(ratings / users), int(0.6 * movies)))
    weight = rng.lognormal(0, 1.1, users)
    spare = ratings - least * users
    counts: Ints = np.minimum(least + (spare * weight / weight.sum()).astype(np.int64), most)
    while missing := int(ratings - counts.sum()):
        free = np.flatnonzero(counts < most)[:missing]
        counts[free] = np.minimum(counts[free] + missing // len(free), most)
    return counts


def _chunk_starts(counts: Ints) -> Iterator[slice]:
    """Runs of users with about ``_CHUNK_ROWS`` ratings together."""
    part = (np.cumsum(counts) - counts) // _CHUNK_ROWS
    starts = [*np.flatnonzero(np.diff(part, prepend=-1)).tolist(), len(counts)]
    for start, end in itertools.pairwise(starts):
        yield slice(start, end)


def _rate(rng: np.random.Generator, world: _World, counts: Ints, first_user: int) -> pl.DataFrame:
    """The ratings of users ``first_user``, ``first_user + 1``, ...: rows of ratings.csv."""
    users = len(counts)
    user = np.repeat(np.arange(users), counts)
    position = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    time, session = _sessions(rng, counts, user, position)
    # A session's taste is of one group; in the course of the ratings the user moves through some.
    groups = rng.integers(_GROUPS, size=(users, _GROUPS_OF_USER))
    now = _GROUPS_OF_USER * position // counts[user]
    strays = rng.random(len(user)) < 0.15
    now[strays] = rng.integers(_GROUPS_OF_USER, size=int(strays.sum()))
    group = groups[user, now[session]]
    movie = _choose(rng, world, counts, user, group, time)

    bias = rng.normal(0, 0.42, users)
    factors = rng.normal(0, 0.6, (users, _FACTORS))
    taste = np.einsum(
        "ij,ij->i", factors[user] + world.group_factors[group], world.movie_factors[movie]
    )
    stars = 3.2 + bias[user] + world.movie_bias[movie] + 0.16 * taste
    stars += rng.normal(0, 0.68, len(user))
    return pl.DataFrame(
        {
            "userId": user + first_user,
            "movieId": world.movie_ids[movie],
            "rating": np.clip(np.round(stars * 2), 1, 10) / 2,
            "timestamp": time,
        }
    ).sort("userId", "movieId")


def _sessions(
    rng: np.random.Generator, counts: Ints, user: Ints, position: Ints
) -> tuple[Ints, Ints]:
    """Time of each rating, and the index of the rating that its session began with."""
    begins = (rng.random(len(user)) < 1 / 25) | (position == 0)
    session = np.maximum.accumulate(np.where(begins, np.arange(len(user)), 0))
    gap = np.where(begins, rng.exponential(20 * _DAY, len(user)), rng.integers(5, 90, len(user)))
    gap[position == 0] = 0
    elapsed = np.cumsum(gap)
    elapsed -= np.repeat(elapsed[position == 0], counts)
    span = elapsed[np.cumsum(counts) - 1]
    start = _FIRST_TIME + rng.random(len(counts)) * np.maximum(_LAST_TIME - _FIRST_TIME - span, 0)
    time = np.minimum(start[user] + elapsed, _LAST_TIME)
    return time.astype(np.int64), session


def _choose(
    rng: np.random.Generator, world: _World, counts: Ints, user: Ints, group: Ints, time: Ints
) -> Ints:
    """Index of the movie of each rating: by the group's chances, never twice for one user."""
    movies = len(world.movie_ids)
    year = 1970 + time // _YEAR_SECONDS
    movie = np.full(len(user), -1)
    is_open = np.ones(len(user), np.bool_)
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(is_open)
        draws = rng.random(len(rows))
        for g in range(_GROUPS):
            mine = group[rows] == g
            found = np.searchsorted(world.chance[g], draws[mine], side="right")
            movie[rows[mine]] = np.minimum(found, movies - 1)
        # Settled rows come first, so a new draw never takes a movie from them.
        of_users = is_open.view(np.uint8)
        of_users = np.repeat(np.maximum.reduceat(of_users, np.cumsum(counts) - counts), counts)
        rivals = np.concatenate([np.flatnonzero((of_users == 1) & ~is_open), rows])
        _, first = np.unique(user[rivals] * movies + movie[rivals], return_index=True)
        is_open[rows] = True
        is_open[rivals[first]] = False
        is_open[rows] |= world.years[movie[rows]] > year[rows]
        if not is_open.any():
            return movie
    starts = np.cumsum(counts) - counts
    for u in np.unique(user[is_open]):
        # Users who have rated most of what their groups like: popular movies, then any.
        rows = np.arange(starts[u], starts[u] + counts[u])
        rest = rows[is_open[rows]]
        chance = world.popularity * (world.years <= year[rest].min()) + 1e-9
        chance[movie[rows[~is_open[rows]]]] = 0
        movie[rest] = rng.choice(movies, len(rest), replace=False, p=chance / chance.sum())
    return movie


def _csv(table: pl.DataFrame, *, header: bool) -> bytes:
    return table.write_csv(include_header=header, float_precision=1).encode()


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
