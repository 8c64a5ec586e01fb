"""Evaluation: what a candidate's saved predictions and recommendations are worth on the holdout.

It knows no model. The same numbers are measured of simple baselines and of the champion, on the
same holdout, because an error or a gain means little by itself. Shared with the trainer's image,
like all ``evaluation_*``: numpy and polars only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import EvaluationError
from recsys.evaluation.baselines import (
    Training,
    knn_refusal,
    predicted_stars,
    rank_by_neighbours,
    rank_by_popularity,
)
from recsys.evaluation.champion import ChampionAnswers, Comparison, compare
from recsys.evaluation.confidence import (
    Statistic,
    intervals,
    mae_of_rows,
    mean_of_users,
    rmse_of_rows,
)
from recsys.evaluation.metrics import (
    Ranking,
    calibration,
    quality_by_user,
    ranking_metrics,
    rating_error,
)
from recsys.evaluation.slices import first_ratings, make_slices, measure_slice
from recsys.evaluation.tables import (
    PAIR,
    Floats,
    Holdout,
    aligned_predictions,
    check_long_enough,
    check_movies,
    check_recommendations,
    check_unseen,
    table,
)

__all__ = ["ChampionAnswers", "evaluate"]


def evaluate(
    *,
    train: pl.DataFrame,
    holdout: pl.DataFrame,
    predictions: pl.DataFrame,
    recommendations: pl.DataFrame,
    movie_ids: Sequence[int] | pl.Series,
    movies: pl.DataFrame | None = None,
    champion: ChampionAnswers | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures a candidate, the baselines and the champion on one holdout.

    Every held-out movie of a user is relevant, whatever its rating; a ranking is over all movies
    that the user has not rated in ``train``.

    Args:
        train: userId, movieId, rating (stars): what the candidate was fitted to; with timestamp
            (s), new users are a slice of their own.
        holdout: userId, movieId, rating (stars): what was hidden from it.
        predictions: userId, movieId, prediction (stars) for exactly the holdout's pairs.
        recommendations: userId, rank (1 is best), movieId, score; for every user of the holdout at
            least 20 movies unrated in ``train``, or all there are.
        movie_ids: all movies of the dataset, rated or not.
        movies: movieId, genres (list of str): with it, genres are slices.
        champion: what the champion answers; None where there is none to compare with.
        resamples: of the users, for the confidence intervals; 0 leaves these out.
        seed: of the resampling.

    Returns:
        A JSON-serialisable mapping:

        - ``model``: ``rmse`` and ``mae`` (stars), ``ndcg@10``, ``recall@10``, ``recall@20``,
          ``mrr``, ``coverage``, ``novelty`` (bits), ``popularity_bias``.
        - ``calibration``: for each number of stars given, the ``rows`` that have it and the
          predicted ``mean_prediction``.
        - ``baselines``: ``rmse`` and ``mae`` of ``global_mean``, ``movie_mean`` and ``bias``; the
          ranking metrics of ``popularity`` and ``item_knn``, the latter null where it would take
          too long, with the reason in ``skipped``.
        - ``holdout``: its ``rows`` and ``users``.
        - ``slices``: by ``user_activity``, ``new_users``, ``movie_popularity`` and ``genre``, then
          by name; each with ``rows``, ``users``, ``rmse``, ``mae``, ``ndcg@10``, ``recall@10``, and
          for comparison ``baselines`` and ``champion``.
        - ``confidence``: intervals at ``level`` by name of metric (``model``) and of difference
          (``differences``, e.g. ``rmse - bias``); null without resamples.
        - ``champion``: null, or ``release_id``, ``rows``, ``users``, its metrics, and those of the
          ``candidate`` on the same pairs.

    Raises:
        EvaluationError: the tables contradict each other or hold something that is no number.
    """
    first_seen = first_ratings(train)
    train = table("train", train, [*PAIR, "rating"])
    pairs = table("holdout", holdout, [*PAIR, "rating"])
    predictions = table("predictions", predictions, [*PAIR, "prediction"])
    lists = table("recommendations", recommendations, [*PAIR, "rank", "score"])
    all_movies = np.unique(pl.Series("movieId", movie_ids).to_numpy()).astype(np.int64)
    for name, frame in (("train", train), ("holdout", pairs), ("predictions", predictions)):
        if frame.is_empty():
            raise EvaluationError(f"{name} is empty", expected="at least one row")
    check_movies(all_movies, train=train, holdout=pairs, recommendations=lists)
    check_unseen("holdout", pairs, train)
    stars = aligned_predictions(pairs, predictions)

    held = Holdout.of(pairs, all_movies)
    check_recommendations("recommendations", lists, train, held.users)
    check_long_enough(lists, train, held.users, len(all_movies))

    training = Training.of(train, all_movies)
    popularity = training.popularity
    ranking = Ranking.of(lists, held)
    guesses = predicted_stars(training, held)
    popular = rank_by_popularity(training, held)
    refusal = knn_refusal(training, held)
    neighbours = None if refusal else rank_by_neighbours(training, held)
    comparison = None if champion is None else compare(champion, held, train, stars, lists)
    confidence = None
    if resamples:
        baselines = (guesses["bias"], popular)
        statistics = _statistics(held, stars, ranking, baselines, comparison)
        confidence = intervals(*statistics, resamples, seed)
    slices = make_slices(held, training, first_seen, movies)
    return {
        "model": {
            **rating_error(held.stars, stars),
            **ranking_metrics(held, ranking, popularity),
        },
        "calibration": calibration(held.stars, stars),
        "baselines": {
            **{name: rating_error(held.stars, guess) for name, guess in guesses.items()},
            "popularity": ranking_metrics(held, popular, popularity),
            "item_knn": neighbours and ranking_metrics(held, neighbours, popularity),
        },
        "skipped": {"item_knn": refusal} if refusal else {},
        "holdout": {"rows": len(held), "users": len(held.users)},
        "slices": {
            kind: {
                name: measure_slice(
                    held, mask, stars, ranking, (guesses["bias"], popular), comparison
                )
                for name, mask in by_name.items()
            }
            for kind, by_name in slices.items()
        },
        "confidence": confidence,
        "champion": comparison and comparison.summary(),
    }


def _statistics(
    holdout: Holdout,
    prediction: Floats,
    ranking: Ranking,
    baselines: tuple[Floats, Ranking],
    comparison: Comparison | None,
) -> tuple[dict[str, Statistic], dict[str, tuple[Statistic, Statistic]]]:
    """What gets an interval: the model's metrics, and its differences from what it must beat."""
    bias, popular = baselines
    user, n_users = holdout.user, len(holdout.users)
    error = prediction - holdout.stars
    quality = quality_by_user(user, ranking.rank, n_users)
    model = {
        "rmse": rmse_of_rows(user, error, n_users),
        "mae": mae_of_rows(user, error, n_users),
        **{name: mean_of_users(values) for name, values in quality.items()},
    }
    popular_ndcg = quality_by_user(user, popular.rank, n_users)["ndcg@10"]
    differences = {
        "rmse - bias": (model["rmse"], rmse_of_rows(user, bias - holdout.stars, n_users)),
        "ndcg@10 - popularity": (model["ndcg@10"], mean_of_users(popular_ndcg)),
    }
    if comparison is not None:
        differences |= {f"{k} - champion": v for k, v in comparison.statistics().items()}
    return model, differences
