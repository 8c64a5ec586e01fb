"""Interactions and movies as the arrays that training works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import MAX_STARS, MIN_STARS
from recsys.errors import DatasetError

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_Schema: TypeAlias = Mapping[str, pl.DataType | type[pl.DataType]]

TRAIN: Final = "train"
HOLDOUT: Final = "holdout"
YEAR_BUCKETS: Final = 20
_NO_GENRE: Final = "(no genres listed)"
_INTERACTIONS: Final[_Schema] = {
    "userId": pl.Int32,
    "movieId": pl.Int32,
    "rating": pl.Float32,
    "timestamp": pl.Int64,
}
_MOVIES: Final[_Schema] = {"movieId": pl.Int32, "year": pl.Int16, "genres": pl.List(pl.String)}


@dataclass(frozen=True)
class Ratings:
    """Interactions as arrays, by user and within a user by time.

    A user or movie is named by its index in ``user_ids`` or ``movie_ids``, which are sorted.

    Attributes:
        user_ids: ids of the users who have an interaction, shape (users,).
        movie_ids: ids of all movies, rated or not, shape (movies,).
        content: what is known of a movie besides its ratings, 0 or 1, shape (movies, features).
        user: shape (n,), ascending.
        movie: shape (n,).
        stars: shape (n,).
    """

    user_ids: Ints
    movie_ids: Ints
    content: Floats
    user: Ints
    movie: Ints
    stars: Floats

    def __len__(self) -> int:
        return len(self.stars)

    @cached_property
    def user_start(self) -> NDArray[np.int64]:
        """Where each user's interactions begin, and where the last user's end: (users + 1,)."""
        return np.searchsorted(self.user, np.arange(len(self.user_ids) + 1))

    @cached_property
    def user_count(self) -> NDArray[np.int64]:
        """Number of each user's interactions, at least 1, shape (users,)."""
        return np.diff(self.user_start)

    def subset(self, kept: NDArray[np.bool_]) -> Ratings:
        """The interactions where ``kept`` is true, with the same users and movies."""
        return replace(self, user=self.user[kept], movie=self.movie[kept], stars=self.stars[kept])


def make_ratings(interactions: pl.DataFrame, movies: pl.DataFrame) -> Ratings:
    """Interactions as arrays.

    Args:
        interactions: userId, movieId, rating (stars), timestamp (s).
        movies: movieId (unique), year (null when unknown), genres; all movies that are rated and
            those that may be recommended.
    """
    rows = _in_order(interactions)
    movies = movies.sort("movieId")
    user_ids = rows["userId"].unique().sort().to_numpy()
    movie_ids = movies["movieId"].to_numpy()
    return Ratings(
        user_ids=user_ids,
        movie_ids=movie_ids,
        content=movie_content(movies),
        user=np.searchsorted(user_ids, rows["userId"].to_numpy()).astype(np.int32),
        movie=np.searchsorted(movie_ids, rows["movieId"].to_numpy()).astype(np.int32),
        stars=rows["rating"].to_numpy().astype(np.float32),
    )


def _in_order(interactions: pl.DataFrame) -> pl.DataFrame:
    """By user, time and movie: a stable order is what makes a seed repeatable.

    The features are in it already; looking is cheaper than sorting, in time and in memory.
    """
    user, time, movie = (
        interactions[column].to_numpy() for column in ("userId", "timestamp", "movieId")
    )
    later = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (movie[1:] >= movie[:-1]))
    if ((user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & later)).all():
        return interactions
    return interactions.sort("userId", "timestamp", "movieId")


def movie_content(movies: pl.DataFrame) -> Floats:
    """Genres and the bucket of the year as zeros and ones, shape (movies, features).

    The buckets are equally full. A movie without genres or year has zeros there.
    """
    genres = movies["genres"].explode().drop_nulls().unique().sort()
    genres = genres.filter(genres != _NO_GENRE)
    by_genre = movies.select(
        pl.col("genres").list.contains(genre).fill_null(False).cast(pl.Float32).alias(f"{k}")
        for k, genre in enumerate(genres.to_list())
    )
    year = movies["year"].cast(pl.Float64).to_numpy()
    known = np.isfinite(year)
    by_year = np.zeros((len(movies), YEAR_BUCKETS), np.float32)
    if known.any():
        cuts = np.quantile(year[known], np.linspace(0, 1, YEAR_BUCKETS + 1)[1:-1])
        by_year[known, np.searchsorted(cuts, year[known], side="right")] = 1
    return np.hstack([by_genre.to_numpy().reshape(len(movies), -1), by_year]).astype(np.float32)


def check_tables(
    interactions: pl.DataFrame, movies: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The columns that training needs, in the contract's types.

    Raises:
        DatasetError: a column is missing or of another type, there are too few interactions to
            train or to evaluate on, or they name movies that are not in ``movies``.
    """
    rows = _select("interactions", interactions, {**_INTERACTIONS, "split": pl.Categorical})
    movies = _select("movies", movies, _MOVIES)
    if movies["movieId"].is_duplicated().any():
        raise DatasetError("a movie is listed twice", found=_duplicate(movies), expected="once")
    for part in (TRAIN, HOLDOUT):
        if not (rows["split"] == part).any():
            raise DatasetError(
                f"no interaction is marked {part!r} in the column split",
                found=f"{rows.height} interactions",
                expected="at least one",
                hint="the dataset is too small to train and to evaluate on: bring a larger one",
            )
    in_train = rows["split"] == TRAIN
    for column in ("userId", "movieId", "rating"):
        # Column by column: the whole part at once would be a copy of nearly all interactions.
        values = rows[column].filter(in_train).unique()
        if len(values) < 2:
            raise DatasetError(
                f"the training part holds a single {column}: nothing can be learned from it",
                found=values.to_list(),
                expected="at least two values",
                hint="is this the whole dataset?",
            )
    if not rows["rating"].is_between(MIN_STARS, MAX_STARS).all():
        raise DatasetError(
            "a rating lies outside the range of stars",
            found=(rows["rating"].min(), rows["rating"].max()),
            expected=(MIN_STARS, MAX_STARS),
            hint="make the features again: validation should have put it into quarantine",
        )
    strangers = rows.join(movies, on="movieId", how="anti")
    if strangers.height:
        raise DatasetError(
            "interactions name movies that the table of movies does not have",
            found=f"{strangers.height} interactions, among them movie {strangers['movieId'][0]}",
            hint="make the features again: validation should have put them into quarantine",
        )
    return rows, movies


def part(interactions: pl.DataFrame, name: str) -> pl.DataFrame:
    """The interactions whose column split says ``name``, without that column."""
    return interactions.filter(pl.col("split") == name).drop("split")


def _select(name: str, frame: pl.DataFrame, schema: _Schema) -> pl.DataFrame:
    missing = [column for column in schema if column not in frame.columns]
    if missing:
        raise DatasetError(
            f"the table of {name} lacks columns",
            found=", ".join(frame.columns),
            expected=", ".join(schema),
            hint="were the features made by another revision of the pipeline?",
        )
    try:
        frame = frame.select(pl.col(column).cast(kind) for column, kind in schema.items())
    except pl.exceptions.PolarsError as error:
        raise DatasetError(f"the table of {name} has a wrong type", found=str(error)) from error
    must = [c for c in schema if c not in ("year", "genres")]
    if frame.select(pl.any_horizontal(pl.col(must).is_null().any())).item():
        raise DatasetError(f"the table of {name} holds nulls", expected="none but unknown years")
    return frame


def _duplicate(movies: pl.DataFrame) -> int:
    return int(movies.filter(pl.col("movieId").is_duplicated())["movieId"][0])
