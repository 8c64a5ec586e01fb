"""Evaluation: what a candidate's saved predictions and recommendations are worth on the holdout.

It knows no model. The same numbers are measured of simple baselines, on the same holdout, because
an error or a gain means little by itself. Shared with the trainer's image: numpy and polars only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import MAX_STARS, MIN_STARS
from recsys.errors import EvaluationError

LIST_DEPTH: Final = 100
"""Places of a user's recommendations that count; the first relevant one below it is not seen."""
CUT: Final = 10
LONG_CUT: Final = 20
BIAS_EPOCHS: Final = 10
BIAS_USER_SHRINKAGE: Final = 15.0
BIAS_MOVIE_SHRINKAGE: Final = 10.0

_PAIR: Final = ["userId", "movieId"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def evaluate(
    *,
    train: pl.DataFrame,
    holdout: pl.DataFrame,
    predictions: pl.DataFrame,
    recommendations: pl.DataFrame,
    movie_ids: Sequence[int] | pl.Series,
) -> dict[str, Any]:
    """Measures a candidate and the baselines on one holdout.

    Every held-out movie of a user is relevant, whatever its rating; a ranking is over all movies
    that the user has not rated in ``train``.

    Args:
        train: userId, movieId, rating (stars): what the candidate was fitted to.
        holdout: userId, movieId, rating (stars): what was hidden from it.
        predictions: userId, movieId, prediction (stars) for exactly the holdout's pairs.
        recommendations: userId, rank (1 is best), movieId, score; for every user of the holdout at
            least 20 movies unrated in ``train``, or all there are.
        movie_ids: all movies of the dataset, rated or not.

    Returns:
        A JSON-serialisable mapping: ``model`` with ``rmse`` and ``mae`` (see `rating_error`) and
        ``ndcg@10``, ``recall@10``, ``recall@20``, ``mrr``, ``coverage`` (see `ranking_quality`);
        ``baselines`` with the rating errors of ``global_mean``, ``movie_mean`` and ``bias`` and
        the ranking of ``popularity``; ``holdout`` with its ``rows`` and ``users``.

    Raises:
        EvaluationError: the tables contradict each other or hold something that is no number.
    """
    train = _table("train", train, [*_PAIR, "rating"])
    holdout = _table("holdout", holdout, [*_PAIR, "rating"])
    predictions = _table("predictions", predictions, [*_PAIR, "prediction"])
    recommendations = _table("recommendations", recommendations, [*_PAIR, "rank", "score"])
    movies = np.unique(pl.Series("movieId", movie_ids).to_numpy()).astype(np.int64)
    for name, frame in (("train", train), ("holdout", holdout), ("predictions", predictions)):
        if frame.is_empty():
            raise EvaluationError(f"{name} is empty", expected="at least one row")
    _check_movies(movies, train=train, holdout=holdout, recommendations=recommendations)
    _check_unseen("holdout", holdout, train)
    stars = _aligned_predictions(holdout, predictions)

    users = np.unique(holdout["userId"].to_numpy()).astype(np.int64)
    # Only what users of the holdout have rated says what may be recommended to them.
    rated = train.join(holdout.select("userId").unique(), on="userId", how="semi").select(_PAIR)
    _check_recommendations(recommendations, rated, users, len(movies))

    truth = holdout["rating"].to_numpy().astype(np.float64)
    user = _codes(holdout, "userId", users)
    ranks = (
        holdout.select(_PAIR)
        .join(recommendations, on=_PAIR, how="left", maintain_order="left")["rank"]
        .cast(pl.Float64)
        .fill_null(np.inf)
        .to_numpy()
    )
    recommended = recommendations.filter(pl.col("rank") <= CUT)["movieId"].n_unique()
    return {
        "model": {
            **rating_error(truth, stars),
            **ranking_quality(user, ranks, len(users)),
            "coverage": recommended / len(movies),
        },
        "baselines": {
            **{
                name: rating_error(truth, prediction)
                for name, prediction in _rating_baselines(train, holdout, movies).items()
            },
            "popularity": _popularity(train, rated, holdout, users, movies),
        },
        "holdout": {"rows": holdout.height, "users": len(users)},
    }


def rating_error(truth: Floats, prediction: Floats) -> dict[str, float]:
    """Errors of predicted stars, each over all pairs alike.

    ``rmse`` = sqrt(mean((r - p)^2)) and ``mae`` = mean(abs(r - p)), in stars (Herlocker et al.,
    "Evaluating collaborative filtering recommender systems", ACM TOIS 22, 2004, section 4.1).

    Args:
        truth: given stars, shape (n,).
        prediction: predicted stars, shape (n,).
    """
    error = prediction - truth
    return {
        "rmse": float(np.sqrt(np.mean(np.square(error)))),
        "mae": float(np.mean(np.abs(error))),
    }


def ranking_quality(user: Ints, rank: Floats, n_users: int) -> dict[str, float]:
    """How high the held-out movies stand in their users' rankings; means over users.

    For a user with n relevant movies standing at the ranks r (1 is best, inf: not in the list):

    - ``ndcg@10`` = sum of 1 / log2(r + 1) over r <= 10, divided by the same sum of an ideal list,
      which has its min(10, n) first places relevant (Järvelin and Kekäläinen, "Cumulated
      gain-based evaluation of IR techniques", ACM TOIS 20, 2002, with gains of 0 and 1 and the
      discount log2(r + 1) of Burges et al., ICML 2005).
    - ``recall@k`` = number of r <= k, divided by n (Herlocker et al. 2004, section 4.2).
    - ``mrr`` = 1 / min(r), 0 if that is beyond place 100 (Voorhees, TREC-8, 1999).

    Args:
        user: for each held-out pair the place of its user in 0..n_users-1, shape (n,).
        rank: for each held-out pair the rank of its movie, shape (n,).
        n_users: number of users; each has at least one pair.
    """
    relevant = np.bincount(user, minlength=n_users)
    discounts = 1.0 / np.log2(np.arange(2, CUT + 2))
    ideal = np.cumsum(discounts)[np.minimum(relevant, CUT) - 1]
    gain = np.where(rank <= CUT, 1.0 / np.log2(rank + 1.0), 0.0)
    reciprocal = np.zeros(n_users)
    np.maximum.at(reciprocal, user, np.where(rank <= LIST_DEPTH, 1.0 / rank, 0.0))

    def recall(cut: int) -> float:
        found = np.bincount(user, weights=rank <= cut, minlength=n_users)
        return float(np.mean(found / relevant))

    return {
        "ndcg@10": float(np.mean(np.bincount(user, weights=gain, minlength=n_users) / ideal)),
        "recall@10": recall(CUT),
        "recall@20": recall(LONG_CUT),
        "mrr": float(np.mean(reciprocal)),
    }


def _rating_baselines(
    train: pl.DataFrame, holdout: pl.DataFrame, movies: Ints
) -> dict[str, Floats]:
    """Predicted stars of each baseline for the holdout's pairs, each of shape (n,).

    ``movie_mean`` answers the global mean for movies unseen in training. ``bias`` is
    mu + b_user + b_movie, fitted by alternating ridge regressions with the movies first (Koren,
    "Factor in the neighbors", ACM TKDD 4, 2010, section 2.1; epochs and shrinkage as in
    Surprise's BaselineOnly), an unseen user or movie having no bias, cut to the range of stars.
    """
    users = np.unique(train["userId"].to_numpy()).astype(np.int64)
    movie = _codes(train, "movieId", movies)
    user = _codes(train, "userId", users)
    rating = train["rating"].to_numpy().astype(np.float64)
    mean = float(rating.mean())
    centred = rating - mean

    movie_rows = np.bincount(movie, minlength=len(movies))
    user_rows = np.bincount(user, minlength=len(users))
    movie_bias = np.zeros(len(movies))
    user_bias = np.zeros(len(users))
    for _ in range(BIAS_EPOCHS):
        residual = np.bincount(movie, weights=centred - user_bias[user], minlength=len(movies))
        movie_bias = residual / (BIAS_MOVIE_SHRINKAGE + movie_rows)
        residual = np.bincount(user, weights=centred - movie_bias[movie], minlength=len(users))
        user_bias = residual / (BIAS_USER_SHRINKAGE + user_rows)

    asked = _codes(holdout, "movieId", movies)
    asking = holdout["userId"].to_numpy()
    place = np.minimum(np.searchsorted(users, asking), len(users) - 1)
    asking_bias = np.where(users[place] == asking, user_bias[place], 0.0)
    sums = np.bincount(movie, weights=centred, minlength=len(movies))
    movie_mean = mean + sums / np.maximum(movie_rows, 1)
    return {
        "global_mean": np.full(holdout.height, mean),
        "movie_mean": movie_mean[asked],
        "bias": np.clip(mean + asking_bias + movie_bias[asked], MIN_STARS, MAX_STARS),
    }


def _popularity(
    train: pl.DataFrame, rated: pl.DataFrame, holdout: pl.DataFrame, users: Ints, movies: Ints
) -> dict[str, float]:
    """Ranking quality and coverage of the same list for all: most rated in training first.

    Ties go to the smaller movieId. The lists themselves are never made: a movie's rank for a user
    is its place by popularity less the number of movies above it that the user has rated.
    """
    counts = np.bincount(_codes(train, "movieId", movies), minlength=len(movies))
    place_of = np.empty(len(movies), np.int64)
    place_of[np.argsort(-counts, kind="stable")] = np.arange(len(movies))

    size = len(movies)
    # One sorted key for (user, place) answers "how many rated above" by bisection for all users.
    above = np.sort(
        _codes(rated, "userId", users) * size + place_of[_codes(rated, "movieId", movies)]
    )
    first = np.searchsorted(above, np.arange(len(users)) * size)
    user = _codes(holdout, "userId", users)
    place = place_of[_codes(holdout, "movieId", movies)]
    rank = place - (np.searchsorted(above, user * size + place) - first[user]) + 1

    # The c-th unrated place of a user is c plus the number of rated places with at most c unrated
    # ones before them.
    owner = above // size
    unrated_before = above % size - (np.arange(len(above)) - first[owner])
    unrated = size - np.bincount(owner, minlength=len(users))
    recommended = [
        (c + np.bincount(owner[unrated_before <= c], minlength=len(users)))[unrated > c]
        for c in range(CUT)
    ]
    return {
        **ranking_quality(user, rank.astype(np.float64), len(users)),
        "coverage": len(np.unique(np.concatenate(recommended))) / size,
    }


def _codes(frame: pl.DataFrame, column: str, ids: Ints) -> Ints:
    """Places of a column's ids in the sorted ``ids`` that hold them all, shape (rows,)."""
    return np.searchsorted(ids, frame[column].to_numpy()).astype(np.int64, copy=False)


def _table(name: str, frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """The columns asked for, ids as int32; raises unless all values are there and finite."""
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise EvaluationError(
            f"{name} lacks columns", found=", ".join(frame.columns), expected=", ".join(columns)
        )
    types = {c: pl.Int32 for c in _PAIR} | {"rank": pl.Int32}
    try:
        frame = frame.select(pl.col(c).cast(types.get(c, pl.Float64)) for c in columns)
    except pl.exceptions.PolarsError as error:
        raise EvaluationError(f"{name} has a column of a wrong type", found=str(error)) from error
    floats = [c for c in columns if c not in types]
    bad = frame.select(
        pl.any_horizontal(pl.all().is_null().any(), *(~pl.col(c).is_finite().all() for c in floats))
    ).item()
    if bad:
        raise EvaluationError(
            f"{name} holds values that are no numbers",
            found="null, NaN or infinite values",
            expected="finite numbers only",
            hint="look for a training that diverged",
        )
    # Sorting one integer per pair needs a third of the memory of hashing the pairs.
    pairs = frame.select(pl.col("userId").cast(pl.Int64) * 2**32 + pl.col("movieId")).to_series()
    if (pairs.sort().diff() == 0).any():
        raise EvaluationError(f"{name} holds a pair of user and movie twice", expected="once")
    return frame


def _check_movies(movies: Ints, **tables: pl.DataFrame) -> None:
    for name, frame in tables.items():
        unknown = np.setdiff1d(frame["movieId"].unique().to_numpy(), movies)
        if unknown.size:
            raise EvaluationError(
                f"{name} names movies that the dataset does not have", found=unknown[:5].tolist()
            )


def _check_unseen(name: str, frame: pl.DataFrame, train: pl.DataFrame) -> None:
    seen = train.join(frame, on=_PAIR, how="semi")
    if seen.height:
        raise EvaluationError(
            f"{name} holds pairs that are in the training part",
            found=f"{seen.height} pairs, among them {seen.row(0)[:2]}",
            expected="only movies that the user has not rated in training",
        )


def _aligned_predictions(holdout: pl.DataFrame, predictions: pl.DataFrame) -> Floats:
    """Predicted stars in the holdout's order; raises unless the pairs are exactly its pairs."""
    joined = holdout.join(predictions, on=_PAIR, how="left", maintain_order="left")
    missing = joined["prediction"].null_count()
    if missing or predictions.height != holdout.height:
        raise EvaluationError(
            "the predictions are not those of the holdout's pairs",
            found=f"{predictions.height} pairs, {missing} of the holdout's missing",
            expected=f"exactly the {holdout.height} pairs of the holdout",
        )
    return joined["prediction"].to_numpy()


def _check_recommendations(
    recommendations: pl.DataFrame, rated: pl.DataFrame, users: Ints, n_movies: int
) -> None:
    _check_unseen("recommendations", recommendations, rated)
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
            "ranks of recommendations are not 1, 2, 3 and so on",
            found=f"{broken.height} users, among them {broken['userId'][0]}",
        )
    strangers = np.setdiff1d(lists["userId"].to_numpy(), users)
    if strangers.size:
        raise EvaluationError(
            "there are recommendations for users outside the holdout",
            found=strangers[:5].tolist(),
            expected="users of the holdout only",
        )
    short = (
        pl.DataFrame({"userId": users.astype(np.int32)})
        .join(lists, on="userId", how="left")
        .join(rated.group_by("userId").agg(rated=pl.len()), on="userId", how="left")
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
