"""Measures a release on ratings that are newer than all that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from recsys.evaluation.confidence import Statistic, intervals, mean_of_users, rmse_of_rows
from recsys.evaluation.ids import id_type
from recsys.evaluation.metrics import Ranking, quality_by_user
from recsys.evaluation.tables import (
    PAIR,
    Floats,
    Holdout,
    Ints,
    Mask,
    check_movies,
    check_recommendations,
    table,
)

RANKED: Final = ("ndcg@10", "recall@10")
_RESAMPLES: Final = 1000
_SEED: Final = 0


@dataclass(frozen=True)
class ForwardAnswers:
    """What a served release says about newer ratings.

    Attributes:
        predictions: userId, movieId, prediction (stars) for some of the pairs; None if the model
            was not asked.
        recommendations: userId, rank, movieId, for the users that it has a vector of.
    """

    predictions: pl.DataFrame | None
    recommendations: pl.DataFrame


@dataclass(frozen=True)
class Realized:
    """A metric of served answers, with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ForwardMetrics:
    """Metrics of a release on newer ratings.

    Attributes:
        rows: pairs with predicted stars.
        ranked_users: users with recommendations.
        metrics: by name; those without data are left out.
    """

    rows: int
    ranked_users: int
    metrics: dict[str, Realized]


@dataclass(frozen=True)
class _Side:
    holdout: Holdout
    error: Floats
    """NaN for pairs without a prediction, shape (n,)."""
    ranking: Ranking
    listed: Mask
    """Whether the pair's user has recommendations, shape (n,)."""

    def statistics(self, rated: Mask, listed: Mask) -> dict[str, Statistic]:
        user, n_users = self.holdout.user, len(self.holdout.users)
        found = {}
        if rated.any():
            found["rmse"] = rmse_of_rows(user[rated], self.error[rated], n_users)
        if listed.any():
            by_user = quality_by_user(user[listed], self.ranking.rank[listed], n_users)
            found |= {name: mean_of_users(by_user[name]) for name in RANKED}
        return found


def measure_forward(
    pairs: pl.DataFrame, movie_ids: Ints, answers: ForwardAnswers
) -> ForwardMetrics:
    """Measures served answers on newer ratings; every newer movie of a user is relevant.

    Args:
        pairs: userId, movieId, rating (stars): ratings that the release was not made from.
        movie_ids: sorted ids of all movies of the newer dataset and of the release.
        answers: the release's.

    Raises:
        EvaluationError: the tables contradict each other or contain values that are not numbers.
    """
    side = _side(pairs, movie_ids, answers)
    rated = np.isfinite(side.error)
    statistics = side.statistics(rated, side.listed)
    ends = intervals(statistics, {}, _RESAMPLES, _SEED)["model"] if statistics else {}
    return ForwardMetrics(
        rows=int(rated.sum()),
        ranked_users=len(np.unique(side.holdout.user[side.listed])),
        metrics={
            name: Realized(_value(statistics[name]), *ends[name])
            for name in statistics
            if ends[name] is not None
        },
    )


def compare_forward(
    pairs: pl.DataFrame, movie_ids: Ints, first: ForwardAnswers, second: ForwardAnswers
) -> Mapping[str, tuple[float, float]]:
    """Returns paired confidence intervals of first minus second, on the pairs that both answer.

    Args:
        pairs: ratings that neither release was made from.
        movie_ids: sorted ids of all movies.
        first: the answers of one release.
        second: those of another one.
    """
    one, other = (_side(pairs, movie_ids, answers) for answers in (first, second))
    rated = np.isfinite(one.error) & np.isfinite(other.error)
    listed = one.listed & other.listed
    ours, theirs = one.statistics(rated, listed), other.statistics(rated, listed)
    if not ours:
        return {}
    differences = {name: (ours[name], theirs[name]) for name in ours}
    ends = intervals({}, differences, _RESAMPLES, _SEED)["differences"]
    return {name: (low, high) for name, found in ends.items() if found for low, high in [found]}


def _side(pairs: pl.DataFrame, movie_ids: Ints, answers: ForwardAnswers) -> _Side:
    given = [pairs, answers.recommendations]
    ids = id_type(*given if answers.predictions is None else [*given, answers.predictions])
    pairs = table("newer ratings", pairs, [*PAIR, "rating"], ids)
    lists = table("recommendations", answers.recommendations, [*PAIR, "rank"], ids)
    check_movies(movie_ids, ratings=pairs, recommendations=lists)
    holdout = Holdout.of(pairs, movie_ids)
    check_recommendations("recommendations", lists, pairs.clear(), holdout.users)
    error = np.full(len(holdout), np.nan)
    if answers.predictions is not None:
        stars = table("predictions", answers.predictions, [*PAIR, "prediction"], ids)
        joined = pairs.join(stars, on=PAIR, how="left", maintain_order="left")["prediction"]
        error = joined.cast(pl.Float64).fill_null(np.nan).to_numpy() - holdout.stars
    has_list = np.isin(holdout.users, lists["userId"].unique().to_numpy())
    return _Side(holdout, error, Ranking.of(lists, holdout), has_list[holdout.user])


def _value(statistic: Statistic) -> float:
    value = float(statistic.top.sum() / statistic.bottom.sum())
    return value**0.5 if statistic.root else value
