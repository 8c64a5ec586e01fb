"""Evaluation of a candidate's saved predictions and recommendations on the holdout.

It does not depend on the model. The baselines and the champion are measured on the same holdout,
because a metric means little without a reference. The trainer's image contains this package, which
therefore imports only numpy, polars and the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.contract import METRICS_SCHEMA, STARS, Metrics, RatingScale
from recsys.errors import EvaluationError
from recsys.evaluation.baselines import Training, rank_by_neighbors, reason_to_skip_knn
from recsys.evaluation.champion import ChampionAnswers
from recsys.evaluation.holdouts import TimeHoldout, last_visit
from recsys.evaluation.ids import id_type
from recsys.evaluation.measurement import Fitted, Measured, describe, measure
from recsys.evaluation.metrics import calibration, ranking_metrics
from recsys.evaluation.slices import first_ratings, known_and_new, make_slices
from recsys.evaluation.tables import PAIR, Ints, check_movies, table

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
    time_holdout: TimeHoldout | None = None,
    scale: RatingScale = STARS,
    resamples: int = 1000,
    seed: int = 0,
) -> Metrics:
    """Measures a candidate, the baselines and the champion on one or two holdouts.

    Every held-out movie of a user is relevant, whatever its rating. A ranking is over all movies
    that the user has not rated in ``train``.

    Args:
        train: userId, movieId, rating (stars): the rows that the candidate was fitted to. With
            timestamp (s), new users are a slice.
        holdout: userId, movieId, rating (stars): the rows that the candidate was not fitted to.
            With timestamp (s) here and in ``train``, the last visit is measured.
        predictions: userId, movieId, prediction (stars) for exactly the holdout's pairs.
        recommendations: userId, rank (1 is best), movieId, score. Each ranked user of the holdout
            (all, or a sample of 20,000: `recsys.evaluation.sample`) has at least 20 movies unrated
            in ``train``, or all such movies if there are fewer. Lists of others are not measured.
        movie_ids: all movies of the dataset, rated or not.
        movies: movieId, genres (list of str). With it, genres are slices.
        champion: the champion's predictions and recommendations; None without a champion.
        time_holdout: the candidate's answers for all ratings from one moment on; None: they are not
            measured.
        scale: of ratings and predictions; thresholds in stars are mapped to it.
        resamples: number of resamples of the users for the confidence intervals; 0 leaves the
            intervals out.
        seed: of the resampling.

    Returns:
        - ``baselines``: rating errors of ``global_mean``, ``movie_mean`` and ``bias``; ranking
          metrics of ``popularity`` and ``item_knn``. ``item_knn`` is null if it would take too
          long; ``skipped`` has the reason.
        - ``slices``: by ``user_activity``, ``new_users``, ``movie_popularity`` and ``genre``.
        - ``time_holdout``, ``last_visit``: the same on these holdouts; null if there is none. The
          slices of the time holdout are users and movies with a training row, and new ones.
        - ``confidence``: intervals by metric (``model``) and by difference (``differences``, e.g.
          ``rmse - bias``); null without resamples.
        - The other fields of `recsys.contract.Metrics`.

    Raises:
        EvaluationError: the tables contradict each other or contain values that are not numbers.
    """
    first_seen, visit = first_ratings(train), last_visit(holdout, train)
    rows = table("train", train, [*PAIR, "rating"], id_type(train, holdout))
    all_movies: Ints = np.unique(pl.Series("movieId", movie_ids).to_numpy()).astype(np.int64)
    if rows.is_empty():
        raise EvaluationError("train is empty", expected="at least one row")
    check_movies(all_movies, train=rows)
    fitted = Fitted(rows, Training.of(rows, all_movies, scale), resamples, seed)
    newest = measure(
        "holdout", holdout, predictions, recommendations, champion, fitted, all_ranked=True
    )
    training, pairs = fitted.training, newest.holdout
    document = describe(newest, fitted, make_slices(pairs, training, first_seen, movies))
    reason_to_skip = reason_to_skip_knn(training, pairs)
    neighbors = None if reason_to_skip else rank_by_neighbors(training, pairs)
    document["baselines"]["item_knn"] = neighbors and ranking_metrics(
        pairs, neighbors, training.popularity, newest.ranked
    )
    return Metrics.model_validate(
        {
            "metrics_schema": METRICS_SCHEMA,
            **document,
            "calibration": calibration(pairs.stars, newest.candidate.prediction, scale),
            "skipped": {"item_knn": reason_to_skip} if reason_to_skip else {},
            "time_holdout": time_holdout and _describe_time(time_holdout, fitted),
            "last_visit": None
            if visit is None or not visit.any()
            else describe(newest, fitted, {}, visit),
        }
    )


def _describe_time(given: TimeHoldout, fitted: Fitted) -> dict[str, Any]:
    measured: Measured = measure(
        "the time holdout",
        given.rows,
        given.predictions,
        given.recommendations,
        given.champion,
        fitted,
        all_ranked=False,
    )
    slices = known_and_new(measured.holdout, fitted.training)
    return {
        "moment": given.rows["timestamp"].min(),
        **describe(measured, fitted, slices),
    }
