"""Converts interactions and movies to the arrays that the models are fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import STARS, RatingScale
from recsys.errors import DatasetError
from recsys.evaluation import HOLDOUT, TRAIN, id_type

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Ids = NDArray[np.integer]
"""int32, or int64 in a dataset with ids of 64 bits."""

_Schema: TypeAlias = Mapping[str, pl.DataType | type[pl.DataType]]

YEAR_BUCKETS: Final = 20
_NO_GENRE: Final = "(no genres listed)"
_INTERACTIONS: Final[_Schema] = {
    "rating": pl.Float32,
    "timestamp": pl.Int64,
}
_MOVIES: Final[_Schema] = {"year": pl.Int16, "genres": pl.List(pl.String)}


@dataclass(frozen=True)
class Ratings:
    """Interactions as arrays, sorted by user and time.

    ``user`` and ``movie`` are indices into ``user_ids`` and ``movie_ids``, which are sorted.

    Attributes:
        user_ids: ids of the users with an interaction, shape (users,).
        movie_ids: ids of all movies, rated or unrated, shape (movies,).
        content: content features of the movies, 0 or 1, shape (movies, features).
        user: shape (n,), ascending.
        movie: shape (n,).
        stars: shape (n,).
    """

    user_ids: Ids
    movie_ids: Ids
    content: Floats
    user: Ints
    movie: Ints
    stars: Floats

    def __len__(self) -> int:
        return len(self.stars)

    @cached_property
    def user_start(self) -> NDArray[np.int64]:
        """Index of each user's first interaction, and the number of all: shape (users + 1,)."""
        return np.searchsorted(self.user, np.arange(len(self.user_ids) + 1))

    @cached_property
    def user_count(self) -> NDArray[np.int64]:
        """Number of interactions of each user, at least 1, shape (users,)."""
        return np.diff(self.user_start)

    def subset(self, mask: NDArray[np.bool_]) -> Ratings:
        """Returns the interactions where ``mask`` is true, with the same users and movies."""
        return replace(self, user=self.user[mask], movie=self.movie[mask], stars=self.stars[mask])


def make_ratings(interactions: pl.DataFrame, movies: pl.DataFrame) -> Ratings:
    """Converts tables to arrays.

    Args:
        interactions: userId, movieId, rating (stars), timestamp (s).
        movies: movieId (unique), year (null if unknown), genres of all movies: the rated ones and
            those that may be recommended.
    """
    rows = _sort(interactions)
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


def _sort(interactions: pl.DataFrame) -> pl.DataFrame:
    """Sorts by user, time and movie, so that the same seed gives the same result.

    The pipeline's features are already sorted; the check saves the time and memory of sorting.
    """
    user, time, movie = (
        interactions[column].to_numpy() for column in ("userId", "timestamp", "movieId")
    )
    later = (time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (movie[1:] >= movie[:-1]))
    if ((user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & later)).all():
        return interactions
    return interactions.sort("userId", "timestamp", "movieId")


def movie_content(movies: pl.DataFrame) -> Floats:
    """Encodes genres (multi-hot) and a quantile of the year (one-hot), shape (movies, features).

    Unknown genres or an unknown year are encoded as zeros.
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
    interactions: pl.DataFrame, movies: pl.DataFrame, scale: RatingScale = STARS
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Validates both tables; returns the columns that training needs, in the contract's types.

    All ids get one type: int32, or int64 if a table has such ids.

    Args:
        interactions: userId, movieId, rating, timestamp, split.
        movies: movieId, year, genres.
        scale: of the ratings.

    Raises:
        DatasetError: a column is missing or has another type, there are too few interactions to
            train or evaluate on, or an interaction's movie is not in ``movies``.
    """
    ids = id_type(interactions, movies)
    rows = _select(
        "interactions",
        interactions,
        {"userId": ids, "movieId": ids, **_INTERACTIONS, "split": pl.Categorical},
    )
    movies = _select("movies", movies, {"movieId": ids, **_MOVIES})
    if movies["movieId"].is_duplicated().any():
        raise DatasetError("a movieId occurs twice", found=_duplicate(movies), expected="once")
    for part in (TRAIN, HOLDOUT):
        if not (rows["split"] == part).any():
            raise DatasetError(
                f"no interaction is marked {part!r} in the column split",
                found=f"{rows.height} interactions",
                expected="at least one",
                hint="the dataset is too small to be trained and evaluated on: use a larger one",
            )
    in_train = rows["split"] == TRAIN
    for column in ("userId", "movieId", "rating"):
        # Filter one column at a time: a filtered table would copy nearly all interactions.
        values = rows[column].filter(in_train).unique()
        if len(values) < 2:
            raise DatasetError(
                f"the training part has a single {column}: a model cannot be fitted to it",
                found=values.to_list(),
                expected="at least two values",
                hint="check that the dataset is complete",
            )
    if not rows["rating"].is_between(scale.min, scale.max).all():
        raise DatasetError(
            "a rating is outside the scale of the dataset",
            found=(rows["rating"].min(), rows["rating"].max()),
            expected=(scale.min, scale.max),
            hint="generate the features again: validation should have quarantined it",
        )
    orphans = rows.join(movies, on="movieId", how="anti")
    if orphans.height:
        raise DatasetError(
            "interactions have movies that are missing in the table of movies",
            found=f"{orphans.height} interactions, e.g. of movie {orphans['movieId'][0]}",
            hint="generate the features again: validation should have quarantined them",
        )
    return rows, movies


def _select(name: str, frame: pl.DataFrame, schema: _Schema) -> pl.DataFrame:
    missing = [column for column in schema if column not in frame.columns]
    if missing:
        raise DatasetError(
            f"the table of {name} lacks columns",
            found=", ".join(frame.columns),
            expected=", ".join(schema),
            hint="generate the features again, with this revision of the pipeline",
        )
    try:
        frame = frame.select(pl.col(column).cast(kind) for column, kind in schema.items())
    except pl.exceptions.PolarsError as error:
        raise DatasetError(f"the table of {name} has a wrong type", found=str(error)) from error
    required = [c for c in schema if c not in ("year", "genres")]
    if frame.select(pl.any_horizontal(pl.col(required).is_null().any())).item():
        raise DatasetError(
            f"the table of {name} contains nulls",
            expected="nulls in the columns year and genres only",
        )
    return frame


def _duplicate(movies: pl.DataFrame) -> int:
    return int(movies.filter(pl.col("movieId").is_duplicated())["movieId"][0])
