"""Evaluation of a candidate's saved predictions and recommendations on the holdout.

It does not depend on the model. The baselines and the champion are measured on the same holdout,
because a metric means little without a reference. The trainer's image contains this package, which
therefore imports only numpy, polars and the contract.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys.contract import METRICS_SCHEMA, Metrics
from recsys.errors import EvaluationError
from recsys.evaluation.baselines import (
    Training,
    predicted_stars,
    rank_by_neighbors,
    rank_by_popularity,
    reason_to_skip_knn,
)
from recsys.evaluation.champion import ChampionAnswers, Comparison, compare_with_champion
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
) -> Metrics:
    """Measures a candidate, the baselines and the champion on one holdout.

    Every held-out movie of a user is relevant, whatever its rating. A ranking is over all movies
    that the user has not rated in ``train``.

    Args:
        train: userId, movieId, rating (stars): the rows that the candidate was fitted to. With
            timestamp (s), new users are a slice.
        holdout: userId, movieId, rating (stars): the rows that the candidate was not fitted to.
        predictions: userId, movieId, prediction (stars) for exactly the holdout's pairs.
        recommendations: userId, rank (1 is best), movieId, score. Each user of the holdout has at
            least 20 movies unrated in ``train``, or all such movies if there are fewer.
        movie_ids: all movies of the dataset, rated or not.
        movies: movieId, genres (list of str). With it, genres are slices.
        champion: the champion's predictions and recommendations; None without a champion.
        resamples: number of resamples of the users for the confidence intervals; 0 leaves the
            intervals out.
        seed: of the resampling.

    Returns:
        - ``baselines``: rating errors of ``global_mean``, ``movie_mean`` and ``bias``; ranking
          metrics of ``popularity`` and ``item_knn``. ``item_knn`` is null if it would take too
          long; ``skipped`` has the reason.
        - ``slices``: by ``user_activity``, ``new_users``, ``movie_popularity`` and ``genre``.
        - ``confidence``: intervals by metric (``model``) and by difference (``differences``, e.g.
          ``rmse - bias``); null without resamples.
        - The other fields of `recsys.contract.Metrics`.

    Raises:
        EvaluationError: the tables contradict each other or contain values that are not numbers.
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

    indexed_holdout = Holdout.of(pairs, all_movies)
    check_recommendations("recommendations", lists, train, indexed_holdout.users)
    check_long_enough(lists, train, indexed_holdout.users, len(all_movies))

    training = Training.of(train, all_movies)
    popularity = training.popularity
    ranking = Ranking.of(lists, indexed_holdout)
    guesses = predicted_stars(training, indexed_holdout)
    popular = rank_by_popularity(training, indexed_holdout)
    reason_to_skip = reason_to_skip_knn(training, indexed_holdout)
    neighbors = None if reason_to_skip else rank_by_neighbors(training, indexed_holdout)
    comparison = (
        None
        if champion is None
        else compare_with_champion(champion, indexed_holdout, train, stars, lists)
    )
    confidence = None
    if resamples:
        baselines = (guesses["bias"], popular)
        statistics = _statistics(indexed_holdout, stars, ranking, baselines, comparison)
        confidence = intervals(*statistics, resamples, seed)
    slices = make_slices(indexed_holdout, training, first_seen, movies)
    return Metrics.model_validate(
        {
            "metrics_schema": METRICS_SCHEMA,
            "model": {
                **rating_error(indexed_holdout.stars, stars),
                **ranking_metrics(indexed_holdout, ranking, popularity),
            },
            "calibration": calibration(indexed_holdout.stars, stars),
            "baselines": {
                **{
                    name: rating_error(indexed_holdout.stars, guess)
                    for name, guess in guesses.items()
                },
                "popularity": ranking_metrics(indexed_holdout, popular, popularity),
                "item_knn": neighbors and ranking_metrics(indexed_holdout, neighbors, popularity),
            },
            "skipped": {"item_knn": reason_to_skip} if reason_to_skip else {},
            "holdout": {"rows": len(indexed_holdout), "users": len(indexed_holdout.users)},
            "slices": {
                dimension: {
                    name: measure_slice(
                        indexed_holdout,
                        mask,
                        stars,
                        ranking,
                        (guesses["bias"], popular),
                        comparison,
                    )
                    for name, mask in by_name.items()
                }
                for dimension, by_name in slices.items()
            },
            "confidence": confidence,
            "champion": comparison and comparison.summary(),
        }
    )


def _statistics(
    holdout: Holdout,
    prediction: Floats,
    ranking: Ranking,
    baselines: tuple[Floats, Ranking],
    comparison: Comparison | None,
) -> tuple[dict[str, Statistic], dict[str, tuple[Statistic, Statistic]]]:
    """Returns what gets an interval: the model's metrics, and its differences from references."""
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
