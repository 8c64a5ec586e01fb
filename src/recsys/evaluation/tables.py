"""Checks the input of evaluation and converts it to arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import STARS, RatingScale
from recsys.errors import EvaluationError
from recsys.evaluation.ids import has_repeated_pair

PAIR: Final = ["userId", "movieId"]
LONG_CUT: Final = 20
_LARGEST_TABLE: Final = 10_000_000
_ROWS_AT_ONCE: Final = 1_000_000
"""Rows of a range of users, about."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int32]
"""Indices of ids in sorted ids; int32, because there is one for each rating."""


@dataclass(frozen=True)
class Holdout:
    """The pairs of the holdout, with users and movies as indices into sorted ids.

    Attributes:
        pairs: userId, movieId, rating (stars), n rows.
        users: sorted ids of the users with a pair, shape (users,).
        movies: sorted ids of all movies of the dataset, shape (movies,).
        user: index of each pair's user, shape (n,).
        movie: index of each pair's movie, shape (n,).
        stars: true ratings in the scale of the dataset, shape (n,).
        scale: of the ratings.
    """

    pairs: pl.DataFrame
    users: Ints
    movies: Ints
    user: Ints
    movie: Ints
    stars: Floats
    scale: RatingScale = STARS

    @classmethod
    def of(cls, pairs: pl.DataFrame, movies: Ints, scale: RatingScale = STARS) -> Holdout:
        """Converts a checked table; ``movies`` are the sorted ids of all movies."""
        users = np.unique(pairs["userId"].to_numpy()).astype(np.int64)
        return cls(
            pairs=pairs,
            users=users,
            movies=movies,
            user=indices_of_ids(pairs, "userId", users).astype(np.int64),
            movie=indices_of_ids(pairs, "movieId", movies).astype(np.int64),
            stars=pairs["rating"].to_numpy().astype(np.float64),
            scale=scale,
        )

    def __len__(self) -> int:
        return len(self.stars)


def indices_of_ids(frame: pl.DataFrame, column: str, ids: Ints) -> Indices:
    """Returns the index in the sorted ``ids`` of each id of a column, shape (rows,).

    Every id of the column must be in ``ids``.
    """
    column_ids = frame[column].to_numpy()
    if 0 <= ids[0] and ids[-1] < _LARGEST_TABLE:
        # Ten times faster than bisection; the table is small because the ids are.
        index_of = np.zeros(ids[-1] + 1, np.int32)
        index_of[ids] = np.arange(len(ids), dtype=np.int32)
        indices: Indices = index_of[column_ids]
        return indices
    return np.searchsorted(ids, column_ids).astype(np.int32)


def sums_by_user(user: Ints | Indices, values: Floats, n_users: int) -> Floats:
    """Returns the sum of the values of each user's pairs, shape (n_users,)."""
    return np.bincount(user, weights=values, minlength=n_users).astype(np.float64, copy=False)


def table(name: str, frame: pl.DataFrame, columns: list[str], ids: pl.DataType) -> pl.DataFrame:
    """Returns the columns, ids in the type that all tables of an evaluation share.

    Args:
        name: name of the table in messages.
        frame: the table.
        columns: userId, movieId, and others.
        ids: type of the ids: `recsys.evaluation.ids.id_type`.

    Raises:
        EvaluationError: a column is missing or has a wrong type, a value is null or not finite, or
            a pair occurs twice.
    """
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise EvaluationError(
            f"{name} lacks columns", found=", ".join(frame.columns), expected=", ".join(columns)
        )
    types: dict[str, pl.DataType] = {**dict.fromkeys(PAIR, ids), "rank": pl.Int32()}
    floats = [c for c in columns if c not in types]
    # Stars in float32 are not converted: float64 would double the memory of a large training part.
    types |= {c: pl.Float32() if frame[c].dtype == pl.Float32 else pl.Float64() for c in floats}
    try:
        frame = frame.select(pl.col(c).cast(types[c]) for c in columns)
    except pl.exceptions.PolarsError as error:
        raise EvaluationError(f"{name} has a column of a wrong type", found=str(error)) from error
    bad = frame.select(
        pl.any_horizontal(pl.all().is_null().any(), *(~pl.col(c).is_finite().all() for c in floats))
    ).item()
    if bad:
        raise EvaluationError(
            f"{name} contains values that are not finite numbers",
            found="null, NaN or infinite values",
            expected="finite numbers only",
            hint="look for a training that diverged",
        )
    if has_repeated_pair(frame):
        raise EvaluationError(
            f"{name} contains a pair of user and movie twice", expected="each pair once"
        )
    return frame


def check_movies(movies: Ints, **tables: pl.DataFrame) -> None:
    """Raises EvaluationError if a table has a movie that is not in ``movies``."""
    for name, frame in tables.items():
        unknown = np.setdiff1d(frame["movieId"].unique().to_numpy(), movies)
        if unknown.size:
            raise EvaluationError(
                f"{name} contains movies that the dataset does not have", found=unknown[:5].tolist()
            )


def check_unseen(name: str, frame: pl.DataFrame, train: pl.DataFrame) -> None:
    """Raises EvaluationError if a pair of ``frame`` is also in ``train``."""
    seen = join_in_ranges(frame.select(PAIR), train, "semi")
    if seen.height:
        raise EvaluationError(
            f"{name} contains pairs of the training part",
            found=f"{seen.height} pairs, among them {seen.row(0)[:2]}",
            expected="only movies that the user has not rated in training",
        )


def join_in_ranges(
    pairs: pl.DataFrame, others: pl.DataFrame, how: Literal["semi", "anti"]
) -> pl.DataFrame:
    """Returns the pairs that are, or are not, among the others.

    Users are joined in ranges: a join of all would hash every rating of a training part at once,
    which takes a gigabyte with 32 million.

    Args:
        pairs: userId, movieId.
        others: userId, movieId.
        how: ``semi`` for those among the others, ``anti`` for those that are not.
    """
    found = [
        pairs.filter(is_in_range).join(others.filter(is_in_range), on=PAIR, how=how)
        for is_in_range in user_ranges(pairs["userId"], pairs.height + others.height)
    ]
    return pl.concat(found) if found else pairs


def user_ranges(users: pl.Series, rows: int) -> Iterator[pl.Expr]:
    """Yields conditions on userId, each of which about a million rows meet.

    What is done to one range of users after the other needs memory for one range only.

    Args:
        users: ids, each once or more; none of them is left out.
        rows: number of rows of the tables that the conditions are for.
    """
    starts = users.unique().sort()
    step = max(1, _ROWS_AT_ONCE * len(starts) // max(rows, 1))
    for first, after in itertools.pairwise([*starts.gather_every(step).to_list(), None]):
        is_in_range = pl.col("userId") >= first
        yield is_in_range if after is None else is_in_range & (pl.col("userId") < after)


def aligned_predictions(holdout: pl.DataFrame, predictions: pl.DataFrame) -> Floats:
    """Returns predicted stars in the holdout's order.

    Raises:
        EvaluationError: the pairs are not exactly the pairs of the holdout.
    """
    joined = holdout.join(predictions, on=PAIR, how="left", maintain_order="left")
    missing = joined["prediction"].null_count()
    if missing or predictions.height != holdout.height:
        raise EvaluationError(
            "the predictions do not match the holdout's pairs",
            found=f"{predictions.height} pairs, {missing} of the holdout's missing",
            expected=f"exactly the {holdout.height} pairs of the holdout",
        )
    return joined["prediction"].cast(pl.Float64).to_numpy()


def check_recommendations(
    name: str, recommendations: pl.DataFrame, train: pl.DataFrame, users: Ints
) -> None:
    """Raises EvaluationError unless lists rank unrated movies 1, 2, 3 ... for ``users`` only.

    Args:
        name: name of the table in messages.
        recommendations: userId, rank, movieId.
        train: userId, movieId of pairs that must not be recommended.
        users: users who may have a list.
    """
    check_unseen(name, recommendations, train)
    lists = recommendations.group_by("userId").agg(
        rows=pl.len(),
        first=pl.col("rank").min(),
        ranks=pl.col("rank").n_unique(),
        last=pl.col("rank").max(),
    )
    broken = lists.filter(
        (pl.col("first") != 1)
        | (pl.col("last") != pl.col("rows"))
        | (pl.col("ranks") != pl.col("rows"))
    )
    if broken.height:
        raise EvaluationError(
            f"ranks of {name} are not consecutive from 1",
            found=f"{broken.height} users, among them {broken['userId'][0]}",
        )
    others = np.setdiff1d(lists["userId"].to_numpy(), users)
    if others.size:
        raise EvaluationError(
            f"there are {name} for users outside the holdout",
            found=others[:5].tolist(),
            expected="users of the holdout only",
        )


def check_long_enough(
    recommendations: pl.DataFrame, train: pl.DataFrame, users: Ints, n_movies: int
) -> None:
    """Raises EvaluationError unless each of ``users`` has 20 movies, or all unrated ones."""
    short = (
        pl.DataFrame({"userId": users})
        .cast({"userId": train.schema["userId"]})
        .join(recommendations.group_by("userId").agg(rows=pl.len()), on="userId", how="left")
        .join(train.group_by("userId").agg(rated=pl.len()), on="userId", how="left")
        .fill_null(0)
        .filter(
            pl.col("rows")
            < pl.min_horizontal(pl.lit(LONG_CUT), n_movies - pl.col("rated").cast(pl.Int64))
        )
    )
    if short.height:
        raise EvaluationError(
            "users of the holdout have too few recommendations to be measured",
            found=f"{short.height} users, among them {short['userId'][0]} with {short['rows'][0]}",
            expected=f"at least {LONG_CUT} movies each, or all that the user has not rated",
        )
