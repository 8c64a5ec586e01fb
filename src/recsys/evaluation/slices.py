"""Slices of the holdout: new users, rare movies, genres and others that an average hides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.errors import EvaluationError
from recsys.evaluation.baselines import Training
from recsys.evaluation.champion import Comparison, Side
from recsys.evaluation.confidence import Statistic, mean_of_users, relative_error, rmse_of_rows
from recsys.evaluation.metrics import mean_quality, ndcg_by_user, quality_on, rating_error
from recsys.evaluation.tables import Holdout, Ints, Mask

USER_ACTIVITY: Final = {
    "under 20 ratings": 0,
    "20 to 99 ratings": 20,
    "100 to 499 ratings": 100,
    "500 ratings and more": 500,
}
MOVIE_POPULARITY: Final = {
    "unrated": 0,
    "1 to 9 ratings": 1,
    "10 to 99 ratings": 10,
    "100 to 999 ratings": 100,
    "1000 ratings and more": 1000,
}
NEWEST_SHARE: Final = 0.1
NEWEST, OTHERS = "newest tenth", "others"
KNOWN, NEW = "known before", "new"

Slices = dict[str, dict[str, Mask]]


def first_ratings(train: pl.DataFrame) -> pl.DataFrame | None:
    """Returns userId and the time of the first rating; None if ``train`` has no timestamps."""
    if "timestamp" not in train.columns:
        return None
    return train.group_by(pl.col("userId").cast(pl.Int64)).agg(
        pl.col("timestamp").cast(pl.Int64).min()
    )


def make_slices(
    holdout: Holdout,
    training: Training,
    first_seen: pl.DataFrame | None,
    movies: pl.DataFrame | None,
) -> Slices:
    """Returns a mask of holdout pairs for each slice, by kind and name, without empty slices.

    - ``user_activity``: by the number of the user's ratings in training.
    - ``new_users``: the tenth of the holdout's users with the newest first rating in training;
      users without one count as newest; only with ``first_seen``.
    - ``movie_popularity``: by the number of the movie's ratings in training.
    - ``genre``: a movie belongs to the slice of each of its genres; only with ``movies``.

    Args:
        holdout: the pairs.
        training: the training part.
        first_seen: see `first_ratings`.
        movies: movieId, genres.
    """
    place, known = training.known(holdout)
    activity = np.bincount(training.user, minlength=len(training.users))[place] * known
    made = {
        "user_activity": dict(_by_count(activity[holdout.user], USER_ACTIVITY)),
        "new_users": dict(_newest(holdout, first_seen)),
        "movie_popularity": dict(
            _by_count(training.popularity.raters[holdout.movie], MOVIE_POPULARITY)
        ),
        "genre": dict(_genres(holdout, movies)),
    }
    return {kind: {n: mask for n, mask in by.items() if mask.any()} for kind, by in made.items()}


def known_and_new(holdout: Holdout, training: Training) -> Slices:
    """Returns a mask of holdout pairs for users and movies with a training row, and without.

    In a split by one moment, the ones without are new users and movies.
    """
    _, known = training.known(holdout)
    known_user, known_movie = known[holdout.user], training.popularity.raters[holdout.movie] > 0
    made = {
        "users": {KNOWN: known_user, NEW: ~known_user},
        "movies": {KNOWN: known_movie, NEW: ~known_movie},
    }
    return {kind: {n: mask for n, mask in by.items() if mask.any()} for kind, by in made.items()}


def measure_slice(
    holdout: Holdout,
    mask: Mask,
    sides: tuple[Side, Side],
    comparison: Comparison | None,
    ranked: Mask,
) -> dict[str, Any]:
    """Measures candidate, baselines and champion on one slice.

    Ranks are those among all movies; only the slice's pairs are relevant.

    Args:
        holdout: the pairs.
        mask: the slice.
        sides: the candidate; and the bias model's stars with popularity's ranking.
        comparison: with the champion; None without one.
        ranked: the pairs whose users are ranked.
    """
    ours, baselines = sides
    truth, ranked = holdout.stars[mask], ranked & mask
    measured = {
        "rows": int(mask.sum()),
        "users": len(np.unique(holdout.user[mask])),
        **rating_error(truth, ours.prediction[mask]),
        **_quality(holdout, ours, ranked, ("ndcg@10", "recall@10")),
        "baselines": {
            "bias": {"rmse": rating_error(truth, baselines.prediction[mask])["rmse"]},
            "popularity": _quality(holdout, baselines, ranked, ("ndcg@10",)),
        },
    }
    of_ours, of_baselines = (side_statistics(holdout, side, mask, ranked) for side in sides)
    references = ("rmse / bias", "ndcg@10 / popularity")
    pairs = dict(zip(references, zip(of_ours, of_baselines, strict=True), strict=True))
    if comparison is not None:
        measured["champion"] = comparison.on_slice(mask)
        pairs |= {f"{k} / champion": pair for k, pair in comparison.statistics(mask).items()}
    measured["standard_errors"] = {name: relative_error(*pair) for name, pair in pairs.items()}
    return measured


def side_statistics(
    holdout: Holdout, side: Side, mask: Mask, ranked: Mask
) -> tuple[Statistic, Statistic]:
    """Returns the RMSE on the pairs of ``mask``, and NDCG@10 on those of ``ranked``."""
    error = (side.prediction - holdout.stars)[mask]
    return (
        rmse_of_rows(holdout.user[mask], error, len(holdout.users)),
        mean_of_users(ndcg_by_user(holdout, side.ranking, ranked)),
    )


def _quality(
    holdout: Holdout, side: Side, ranked: Mask, names: tuple[str, ...]
) -> dict[str, float | None]:
    found = mean_quality(quality_on(holdout, side.ranking, ranked))
    return {name: found[name] for name in names}


def _by_count(count: Ints, least: Mapping[str, int]) -> Iterator[tuple[str, Mask]]:
    bounds = [*least.values(), np.iinfo(np.int64).max]
    for name, low, high in zip(least, bounds, bounds[1:], strict=False):
        yield name, (count >= low) & (count < high)


def _newest(holdout: Holdout, first_seen: pl.DataFrame | None) -> Iterator[tuple[str, Mask]]:
    if first_seen is None:
        return
    first = (
        pl.DataFrame({"userId": holdout.users})
        .join(first_seen, on="userId", how="left", maintain_order="left")["timestamp"]
        .fill_null(np.iinfo(np.int64).max)
        .to_numpy()
    )
    count = int(np.ceil(len(first) * NEWEST_SHARE))
    newest = np.zeros(len(first), np.bool_)
    newest[np.argsort(first, kind="stable")[-count:]] = True
    yield NEWEST, newest[holdout.user]
    yield OTHERS, ~newest[holdout.user]


def _genres(holdout: Holdout, movies: pl.DataFrame | None) -> Iterator[tuple[str, Mask]]:
    if movies is None:
        return
    try:
        genres = movies.select(pl.col("movieId").cast(pl.Int64), "genres").explode("genres")
        genres = genres.drop_nulls().filter(pl.col("movieId").is_in(holdout.movies.tolist()))
    except pl.exceptions.PolarsError as error:
        raise EvaluationError(
            "movies lacks columns or has them of a wrong type",
            found=str(error),
            expected="movieId (integer), genres (list of str)",
        ) from error
    for (name,), rows in sorted(genres.group_by("genres")):
        has = np.zeros(len(holdout.movies), np.bool_)
        has[np.searchsorted(holdout.movies, rows["movieId"].to_numpy())] = True
        yield str(name), has[holdout.movie]
