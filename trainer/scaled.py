"""Fits the models of a dataset whose ratings are not stars: ratings are mapped, and answers back.

Hyper-parameters such as learning rates, penalties and `RankingConfig.liked_stars` are for stars,
0.5 to 5. So every architecture is fitted to stars. The map is linear, so the least squares of stars
are those of the ratings. The served model ends with its inverse, in stock layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import RatingScale
from trainer.architecture import Fit, FitModels, Purpose, RatingModel
from trainer.checkpoints import CheckpointStore
from trainer.config import TrainingConfig
from trainer.data import Floats, Ids
from trainer.progress import EpochRecord, OnEpoch


def fit_in_scale(fit: FitModels, scale: RatingScale) -> FitModels:
    """Returns an architecture for ratings in a scale, from one for stars."""
    return fit if scale.is_stars else _FitInScale(fit, scale)


@dataclass(frozen=True)
class _FitInScale:
    fit: FitModels
    scale: RatingScale

    def __call__(
        self,
        rows: pl.DataFrame,
        movies: pl.DataFrame,
        config: TrainingConfig,
        seed: int,
        on_epoch: OnEpoch,
        purpose: Purpose,
        checkpoints: CheckpointStore,
        epochs: int | None = None,
        **start: Any,
    ) -> Fit:
        """Fits both models; see `FitModels` and, for ``start``, `WarmFitModels`."""
        stars = self.scale.to_stars(pl.col("rating").cast(pl.Float64)).cast(pl.Float32)
        fitted = self.fit(
            rows.with_columns(rating=stars),
            movies,
            config,
            seed,
            lambda record: on_epoch(self._record(record)),
            purpose,
            checkpoints,
            epochs,
            **start,
        )
        return replace(
            fitted,
            rating=RatingModelInScale(fitted.rating, self.scale),
            history=tuple(map(self._record, fitted.history)),
        )

    def _record(self, record: EpochRecord) -> EpochRecord:
        """Returns a record of an epoch with its errors in the scale."""
        rmse = record.validation_rmse
        return replace(
            record,
            # The towers' loss is a cross entropy.
            loss=record.loss * (1.0 if record.model == "ranking" else self.scale.factor**2),
            validation_rmse=None if rmse is None else rmse * self.scale.factor,
        )


@dataclass(frozen=True)
class RatingModelInScale:
    """A rating model whose predictions are mapped from stars to a scale.

    Attributes:
        stars: predicts stars.
        scale: the scale.
    """

    stars: RatingModel
    scale: RatingScale

    @property
    def user_ids(self) -> Ids:
        """Ids of the users in the training data, shape (users,)."""
        return self.stars.user_ids

    @property
    def movie_ids(self) -> Ids:
        """Ids of the movies that the model has a vector for, shape (movies,)."""
        return self.stars.movie_ids

    def predict(self, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]) -> Floats:
        """Predicts ratings for pairs of raw ids, known or unknown, shape (n,)."""
        stars = self.stars.predict(user_ids, movie_ids).astype(np.float64)
        ratings = np.clip(self.scale.from_stars(stars), self.scale.min, self.scale.max)
        found: Floats = ratings.astype(np.float32)
        return found

    def keras_model(self) -> keras.Model:
        """Returns a model of stock layers with the same predictions."""
        model, scale = self.stars.keras_model(), self.scale
        # Rounding must not lead out of the scale: the ends are clipped above 0, where they are
        # exact, before the least rating, a multiple of 0.5, is added.
        above = keras.layers.Rescaling(
            scale.factor, offset=scale.from_stars(0.0) - scale.min, name="points_above_least"
        )(model.output)
        cut = keras.layers.ReLU(max_value=scale.max - scale.min, name="points_cut")(above)
        rating = keras.layers.Rescaling(1.0, offset=scale.min, name="rating_in_scale")(cut)
        return keras.Model(model.input, rating, name=model.name)
