"""A synthetic dataset in MovieLens format, of any size, with structure that models can learn.

The popularity of movies has a long tail. Users and movies have biases and latent factors. Users
belong to taste groups that prefer genres. They rate in sessions, and move from one group to another
over time, so that recent ratings are more informative than old ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.dataset.layouts import NO_GENRES
from recsys.dataset.zip_writer import write_dataset
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
    """Properties of a written sample.

    Attributes:
        path: the zip; its md5 file has the same name with .md5 appended.
        md5: 32 hex digits.
        size: bytes.
        ratings: rows of ratings.csv.
        users: users; each has at least one rating.
        movies: rows of movies.csv; some may have no rating.
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
    """Writes a sample and its md5 file; the same arguments give the same bytes.

    Args:
        path: the new zip; its folder must exist.
        ratings: rows of ratings.csv.
        seed: of the random generator.
        users: by default one per 165 ratings as in MovieLens, but at least 30 if there are enough
            ratings.
        movies: by default as many as MovieLens has for this number of ratings.
        progress: called with the ratings written and their total.

    Raises:
        ConfigurationError: the number of ratings is smaller than that of users, or larger than the
                number of pairs of users and movies.
    """
    users = users or max(round(ratings / 165), min(30, math.ceil(ratings / 20)))
    # Fitted to MovieLens: 9,742 movies at 100,000 ratings, 87,585 at 32 million.
    usual = min(round(9742 * (ratings / 1e5) ** 0.38), ratings // 10)
    movies = movies or max(usual, 3 * math.ceil(ratings / users), 20)
    if not 1 <= users <= ratings <= users * movies:
        raise ConfigurationError(
            "no sample of this size exists",
            found=f"{ratings} ratings, {users} users, {movies} movies",
            expected="users <= ratings <= users x movies, all positive",
        )
    world = _World(np.random.default_rng([seed, 0]), movies)
    counts = _counts(np.random.default_rng([seed, 1]), ratings, users, movies)

    def parts() -> Iterator[bytes]:
        done = 0
        for chunk, rows in enumerate(_chunk_slices(counts)):
            rng = np.random.default_rng([seed, 2, chunk])
            table = _rate(rng, world, counts[rows], rows.start + 1)
            yield _csv(table, header=chunk == 0)
            done += table.height
            if progress:
                progress(done, ratings)

    md5 = write_dataset(path, _csv(world.table(), header=True), parts(), folder="ml-sample/")
    return SampleInfo(path, md5, path.stat().st_size, ratings, users, movies)


class _World:
    """Movies and taste groups."""

    def __init__(self, rng: np.random.Generator, movies: int) -> None:
        self.movie_ids = np.cumsum(rng.integers(1, 4, movies))
        self.years = np.maximum(1920, 2022 - rng.exponential(20, movies).astype(np.int64))
        self._titles = _titles(rng, self.years)
        frequency = 1 / np.arange(1, len(GENRES) + 1) ** 0.6
        frequency = rng.permutation(frequency / frequency.sum())
        share = np.zeros((movies, len(GENRES)))
        for place in range(3):
            # Nearly every movie has one genre, some have a second, few a third.
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
        # Popular movies are rated slightly higher.
        self.movie_bias = rng.normal(-0.1, 0.4, movies) + 0.15 * (
            np.log(popularity) - np.log(popularity).mean()
        )

    def table(self) -> pl.DataFrame:
        """Returns the rows of movies.csv."""
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
    """Draws the number of ratings of each user: long-tailed, at least 1, at most one per movie."""
    least = min(_LEAST_RATINGS, ratings // users, movies)
    most = min(movies, max(math.ceil(ratings / users), int(0.6 * movies)))
    weight = rng.lognormal(0, 1.1, users)
    spare = ratings - least * users
    counts: Ints = np.minimum(least + (spare * weight / weight.sum()).astype(np.int64), most)
    while missing := int(ratings - counts.sum()):
        free = np.flatnonzero(counts < most)[:missing]
        counts[free] = np.minimum(counts[free] + missing // len(free), most)
    return counts


def _chunk_slices(counts: Ints) -> Iterator[slice]:
    """Yields slices of consecutive users with about ``_CHUNK_ROWS`` ratings in total."""
    part = (np.cumsum(counts) - counts) // _CHUNK_ROWS
    starts = [*np.flatnonzero(np.diff(part, prepend=-1)).tolist(), len(counts)]
    for start, end in itertools.pairwise(starts):
        yield slice(start, end)


def _rate(rng: np.random.Generator, world: _World, counts: Ints, first_user: int) -> pl.DataFrame:
    """Returns rows of ratings.csv for users ``first_user``, ``first_user + 1``, ..."""
    users = len(counts)
    user = np.repeat(np.arange(users), counts)
    position = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    time, session = _sessions(rng, counts, user, position)
    # A session follows the taste of one group; over time a user moves from group to group.
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
    """Returns the time of each rating, and the index of the first rating of its session."""
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
    """Draws the movie of each rating from the group's distribution, without repeats per user."""
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
        # Settled rows come first, so a new draw cannot take their movie.
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
        # These users have rated most movies of their groups: they get popular movies, then any.
        rows = np.arange(starts[u], starts[u] + counts[u])
        rest = rows[is_open[rows]]
        chance = world.popularity * (world.years <= year[rest].min()) + 1e-9
        chance[movie[rows[~is_open[rows]]]] = 0
        movie[rest] = rng.choice(movies, len(rest), replace=False, p=chance / chance.sum())
    return movie


def _csv(table: pl.DataFrame, *, header: bool) -> bytes:
    return table.write_csv(include_header=header, float_precision=1).encode()
