"""Fits and evaluates the models of a release, then fits those to serve; independent of S3.

The evaluated models are fitted to the training part only. The served models are a refit to all
interactions, with the settings and number of epochs of the evaluated ones; the towers may start
from the evaluated ones instead, and take fewer epochs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import polars as pl

from recsys.contract import STARS, Metrics, RatingScale
from recsys.evaluation import TRAIN, EvaluatedRelease, evaluate_models, part
from trainer.architecture import Fit, FitModels, WarmFitModels
from trainer.checkpoints import NO_CHECKPOINTS, CheckpointStore
from trainer.config import TrainingConfig
from trainer.data import check_tables
from trainer.default_architecture import fit_models
from trainer.progress import OnEpoch
from trainer.scaled import fit_in_scale


@dataclass(frozen=True)
class Evaluated:
    """A fit to the training part, and its evaluation on the holdout.

    Attributes:
        fit: the models.
        predictions: userId, movieId, rating, prediction, one row for each holdout pair.
        recommendations: userId, rank, movieId, score; see `recsys.evaluation.recommend`.
        metrics: see `recsys.evaluation.evaluate`.
    """

    fit: Fit
    predictions: pl.DataFrame
    recommendations: pl.DataFrame
    metrics: Metrics = field(repr=False)


def fit_and_evaluate(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch = lambda record: None,
    *,
    champion: EvaluatedRelease | None = None,
    checkpoints: CheckpointStore = NO_CHECKPOINTS,
    fit: FitModels | None = None,
    scale: RatingScale = STARS,
) -> Evaluated:
    """Fits to the rows marked ``train``; evaluates on those marked ``holdout``, and in time.

    Args:
        interactions: userId, movieId, rating, timestamp (s), split.
        movies: movieId, year, genres.
        config: hyper-parameters.
        seed: the same seed, tables and machine give the same result.
        on_epoch: called after each epoch.
        champion: evaluated on the same holdout, for comparison.
        checkpoints: where the state of a fit is saved, and resumed from.
        fit: the architecture, for stars; None: `trainer.default_architecture`.
        scale: of ratings and predictions.

    Raises:
        DatasetError: the tables cannot be trained or evaluated on.
        TrainingError: training diverged.
        EvaluationError: the predictions or recommendations cannot be evaluated.
    """
    interactions, movies = check_tables(interactions, movies, scale)
    fit = fit_in_scale(fit or fit_models, scale)
    # Not kept: the evaluation, which needs most memory of all, makes a training part of its own.
    fitted = fit(
        part(interactions, TRAIN), movies, config, seed, on_epoch, "evaluated", checkpoints
    )
    found = evaluate_models(
        interactions, movies, fitted.rating.predict, fitted.towers, champion, scale
    )
    return Evaluated(fitted, found.predictions, found.recommendations, found.metrics)


def fit_served(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    evaluated: Fit,
    on_epoch: OnEpoch = lambda record: None,
    *,
    checkpoints: CheckpointStore = NO_CHECKPOINTS,
    fit: FitModels | None = None,
    scale: RatingScale = STARS,
) -> Fit:
    """Fits to all rows, the holdout included, for serving; raises as `fit_and_evaluate` does.

    The towers start from the evaluated ones if ``config.serving`` and their architecture allow it.

    Args:
        interactions: as above.
        movies: as above.
        config: as above.
        seed: as above.
        evaluated: the fit to the training part, whose settings and number of epochs are reused, and
            from whose towers a warm start begins.
        on_epoch: called after each epoch.
        checkpoints: as above.
        fit: as above.
        scale: as above.
    """
    interactions, movies = check_tables(interactions, movies, scale)
    # The number of epochs is fixed: no validation rows are needed.
    rating = evaluated.rating_config.model_copy(update={"validation_share": 0.0})
    frozen = config.model_copy(update={"rating": rating})
    rows, fit = interactions.drop("split"), fit_in_scale(fit or fit_models, scale)
    epochs, start = evaluated.rating_epochs, evaluated.warm_start
    if not is_warm(evaluated, config):
        return fit(rows, movies, frozen, seed, on_epoch, "served", checkpoints, epochs)
    return cast(WarmFitModels, fit)(
        rows, movies, frozen.warm(), seed, on_epoch, "served", checkpoints, epochs, start=start
    )


def is_warm(evaluated: Fit, config: TrainingConfig) -> bool:
    """Returns whether the served towers start from these evaluated ones."""
    return evaluated.warm_start is not None and config.serving.method == "warm_start"


def served_errors(predictions: pl.DataFrame, served: Fit) -> tuple[float, float]:
    """Returns how far served predictions on the holdout are from evaluated ones, and their RMSE.

    Args:
        predictions: userId, movieId, rating, prediction (of the evaluated model) of the holdout.
        served: the fit to all interactions, these included.

    Returns:
        The RMS difference of served and evaluated predictions, and the RMSE, in the scale of the
        dataset.
    """
    stars = served.rating.predict(
        predictions["userId"].to_numpy(), predictions["movieId"].to_numpy()
    )
    shift, rmse = (
        float(np.sqrt(np.mean(np.square(stars - predictions[column].to_numpy()))))
        for column in ("prediction", "rating")
    )
    return shift, rmse
