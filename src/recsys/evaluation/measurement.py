"""Measures candidate, baselines and champion on one holdout, or on a part of its pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from recsys.errors import EvaluationError
from recsys.evaluation.baselines import Training, predicted_stars, rank_by_popularity
from recsys.evaluation.champion import ChampionAnswers, Comparison, Side, compare_with_champion
from recsys.evaluation.confidence import (
    Statistic,
    intervals,
    mae_of_rows,
    mean_of_users,
    rmse_of_rows,
)
from recsys.evaluation.ids import id_type
from recsys.evaluation.metrics import Ranking, quality_on, ranking_metrics, rating_error
from recsys.evaluation.sample import ranked_sample
from recsys.evaluation.slices import Slices, measure_slice
from recsys.evaluation.tables import (
    PAIR,
    Floats,
    Holdout,
    Mask,
    aligned_predictions,
    check_long_enough,
    check_movies,
    check_recommendations,
    check_unseen,
    table,
)


@dataclass(frozen=True)
class Fitted:
    """What candidate and baselines were fitted to.

    Attributes:
        train: userId, movieId, rating: checked.
        training: the same as arrays.
        resamples: number of resamples for confidence intervals.
        seed: of the resampling.
    """

    train: pl.DataFrame
    training: Training
    resamples: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """Results on the pairs of a holdout.

    Attributes:
        holdout: the pairs.
        candidate: the candidate's stars and ranking.
        stars: predicted stars of the baselines by name.
        popular: ranking by popularity.
        ranked: the pairs whose users are ranked, shape (n,).
        comparison: with the champion; None without one.
    """

    holdout: Holdout
    candidate: Side
    stars: Mapping[str, Floats] = field(repr=False)
    popular: Ranking
    ranked: Mask
    comparison: Comparison | None


def measure(
    name: str,
    rows: pl.DataFrame,
    predictions: pl.DataFrame,
    recommendations: pl.DataFrame,
    champion: ChampionAnswers | None,
    fitted: Fitted,
    *,
    all_ranked: bool,
) -> Measured:
    """Checks a candidate's answers for a holdout and measures the baselines on it.

    Args:
        name: of the holdout, in messages.
        rows: userId, movieId, rating.
        predictions: userId, movieId, prediction, for exactly these pairs.
        recommendations: userId, rank, movieId, score.
        champion: the champion's answers; None without one.
        fitted: what the candidate was fitted to.
        all_ranked: whether a user without a training row is ranked too. Of those who are, a sample
            needs recommendations (`recsys.evaluation.sample`); only it is measured.

    Raises:
        EvaluationError: the tables contradict each other or contain values that are not numbers.
    """
    movies = fitted.training.movies
    ids = id_type(fitted.train)
    pairs = table(name, rows, [*PAIR, "rating"], ids)
    stars = table("predictions", predictions, [*PAIR, "prediction"], ids)
    lists = table("recommendations", recommendations, [*PAIR, "rank", "score"], ids)
    for what, frame in ((name, pairs), ("predictions", stars)):
        if frame.is_empty():
            raise EvaluationError(f"{what} is empty", expected="at least one row")
    check_movies(movies, **{name: pairs, "recommendations": lists})
    check_unseen(name, pairs, fitted.train)
    prediction = aligned_predictions(pairs, stars)

    holdout = Holdout.of(pairs, movies, fitted.training.scale)
    _, known = fitted.training.known(holdout)
    users = known | all_ranked
    sampled = np.isin(holdout.users, ranked_sample(holdout.users[users]))
    check_recommendations("recommendations", lists, fitted.train, holdout.users[users])
    check_long_enough(lists, fitted.train, holdout.users[sampled], len(movies))
    ranked = sampled[holdout.user]
    comparison = None
    if champion is not None:
        comparison = compare_with_champion(champion, holdout, fitted.train, prediction, lists)
        comparison = replace(comparison, ranked=comparison.ranked & ranked)
    return Measured(
        holdout=holdout,
        candidate=Side(prediction, Ranking.of(lists, holdout)),
        stars=predicted_stars(fitted.training, holdout),
        popular=rank_by_popularity(fitted.training, holdout),
        ranked=ranked,
        comparison=comparison,
    )


def describe(
    measured: Measured, fitted: Fitted, slices: Slices, mask: Mask | None = None
) -> dict[str, Any]:
    """Returns a document of `recsys.contract.HoldoutMetrics`.

    Args:
        measured: results on the pairs.
        fitted: what the candidate was fitted to.
        slices: masks of pairs.
        mask: the pairs to describe; None: all.
    """
    holdout, popularity = measured.holdout, fitted.training.popularity
    if mask is None:
        mask = np.ones(len(holdout), np.bool_)
    ranked = measured.ranked & mask
    truth = holdout.stars[mask]
    comparison = measured.comparison
    sides = (measured.candidate, Side(measured.stars["bias"], measured.popular))
    confidence = None
    if fitted.resamples:
        statistics = _statistics(measured, sides, mask, ranked)
        confidence = intervals(*statistics, fitted.resamples, fitted.seed)
    return {
        "model": {
            **rating_error(truth, measured.candidate.prediction[mask]),
            **ranking_metrics(holdout, measured.candidate.ranking, popularity, ranked),
        },
        "baselines": {
            **{name: rating_error(truth, stars[mask]) for name, stars in measured.stars.items()},
            "popularity": ranking_metrics(holdout, measured.popular, popularity, ranked),
        },
        "holdout": {
            "rows": int(mask.sum()),
            "users": len(np.unique(holdout.user[mask])),
            "ranked_users": len(np.unique(holdout.user[ranked])),
        },
        "slices": {
            dimension: {
                name: measure_slice(holdout, part, sides, comparison, measured.ranked)
                for name, part in by_name.items()
            }
            for dimension, by_name in slices.items()
        },
        "confidence": confidence,
        "champion": comparison and comparison.summary(mask),
    }


def _statistics(
    measured: Measured, sides: tuple[Side, Side], mask: Mask, ranked: Mask
) -> tuple[dict[str, Statistic], dict[str, tuple[Statistic, Statistic]]]:
    """Returns what gets an interval: the model's metrics, and its differences from references."""
    holdout = measured.holdout
    user, n_users = holdout.user[mask], len(holdout.users)
    error, bias_error = ((side.prediction - holdout.stars)[mask] for side in sides)
    quality, popular = (quality_on(holdout, side.ranking, ranked) for side in sides)
    model = {
        "rmse": rmse_of_rows(user, error, n_users),
        "mae": mae_of_rows(user, error, n_users),
        **{name: mean_of_users(values) for name, values in quality.items()},
    }
    differences = {
        "rmse - bias": (model["rmse"], rmse_of_rows(user, bias_error, n_users)),
        **{
            f"{name} - popularity": (model[name], mean_of_users(popular[name]))
            for name in ("ndcg@10", "liked_ndcg@10")
        },
    }
    if measured.comparison is not None:
        of_champion = measured.comparison.statistics(mask)
        differences |= {f"{name} - champion": pair for name, pair in of_champion.items()}
    return model, differences
