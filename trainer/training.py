"""The core: interactions and movies in, an evaluated release's models out. It needs no S3.

What is evaluated is fitted to the training part alone. Only then is the same fit repeated with
all interactions, its settings and epochs frozen: that is what is served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import tensorflow as tf

from recsys.evaluation import evaluate
from trainer.config import TrainingConfig
from trainer.data import HOLDOUT, TRAIN, check_tables, make_ratings, part
from trainer.folding import FoldedRating
from trainer.progress import EpochRecord, OnEpoch
from trainer.ranking_model import fit_towers
from trainer.rating_model import fit_rating_model
from trainer.towers import Towers, recommend


@dataclass(frozen=True)
class Fit:
    """Both models fitted to the same interactions.

    Attributes:
        rating: predicts stars.
        towers: rank movies for users.
        interactions: number of rows that the fit knows.
        history: what each epoch told, in order.
    """

    rating: FoldedRating
    towers: Towers
    interactions: int
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class Evaluated:
    """A fit to the training part, and how well it does on the holdout.

    Attributes:
        fit: the models.
        predictions: userId, movieId, rating, prediction (stars), one row for each pair held out.
        recommendations: userId, rank, movieId, score; see `trainer.towers.recommend`.
        metrics: see `recsys.evaluation.evaluate`.
    """

    fit: Fit
    predictions: pl.DataFrame
    recommendations: pl.DataFrame
    metrics: dict[str, Any] = field(repr=False)


def fit_and_evaluate(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch = lambda record: None,
) -> Evaluated:
    """Fits to the rows marked ``train`` and measures on those marked ``holdout``.

    Args:
        interactions: userId, movieId, rating (stars), timestamp (s), split.
        movies: movieId, year, genres.
        config: how to train.
        seed: the same seed, tables and machine give the same result.
        on_epoch: told after each epoch.

    Raises:
        DatasetError: the tables cannot be trained or evaluated on.
        TrainingError: training diverged.
        EvaluationError: what was saved cannot be measured.
    """
    interactions, movies = check_tables(interactions, movies)
    train, holdout = part(interactions, TRAIN), part(interactions, HOLDOUT)
    fit = _fit(train, movies, config, seed, on_epoch)
    predictions = holdout.select(
        "userId",
        "movieId",
        "rating",
        prediction=fit.rating.predict(holdout["userId"].to_numpy(), holdout["movieId"].to_numpy()),
    )
    asked = holdout["userId"].unique().sort().to_numpy()
    recommendations = recommend(fit.towers, asked, train)
    metrics = evaluate(
        train=train,
        holdout=holdout,
        predictions=predictions,
        recommendations=recommendations,
        movie_ids=movies["movieId"],
    )
    return Evaluated(fit, predictions, recommendations, metrics)


def refit(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch = lambda record: None,
) -> Fit:
    """Fits to all rows, held out or not, for serving; arguments and errors as above."""
    interactions, movies = check_tables(interactions, movies)
    # Nothing is decided by these rows any more, so none is kept from the training.
    rating = config.rating.model_copy(update={"validation_share": 0.0})
    frozen = config.model_copy(update={"rating": rating})
    return _fit(interactions.drop("split"), movies, frozen, seed, on_epoch)


def shift_rmse(predictions: pl.DataFrame, served: Fit) -> float:
    """Stars between the evaluated and the served predictions of the holdout's pairs (RMS)."""
    stars = served.rating.predict(
        predictions["userId"].to_numpy(), predictions["movieId"].to_numpy()
    )
    return float(np.sqrt(np.mean(np.square(stars - predictions["prediction"].to_numpy()))))


def _fit(
    rows: pl.DataFrame, movies: pl.DataFrame, config: TrainingConfig, seed: int, on_epoch: OnEpoch
) -> Fit:
    tf.config.experimental.enable_op_determinism()
    history: list[EpochRecord] = []

    def record(epoch: EpochRecord) -> None:
        history.append(epoch)
        on_epoch(epoch)

    for_split, for_rating, for_towers = np.random.default_rng(seed).spawn(3)
    ratings = make_ratings(rows, movies)
    hidden = for_split.random(len(ratings)) < config.rating.validation_share
    # A user's first interaction is never hidden, so that no user is left without any.
    hidden[ratings.user_start[:-1]] = False
    validation = ratings.subset(hidden) if hidden.any() else None
    rating = fit_rating_model(
        ratings.subset(~hidden), config.rating, for_rating, record, validation
    )
    towers = fit_towers(ratings, config.ranking, for_towers, record)
    return Fit(rating, towers, len(rows), tuple(history))
