"""What an architecture must provide: `FitModels`, a function that fits both models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import keras
import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation import Towers
from trainer.checkpoints import CheckpointStore
from trainer.config import RatingConfig, TrainingConfig
from trainer.data import Floats, Ids
from trainer.progress import EpochRecord, OnEpoch
from trainer.warm_start import WarmStart

Purpose = Literal["evaluated", "served"]


class RatingModel(Protocol):
    """A fitted model that predicts stars, of any architecture."""

    @property
    def user_ids(self) -> Ids:
        """Ids of the users in the training data, shape (users,)."""

    @property
    def movie_ids(self) -> Ids:
        """Ids of the movies that the model has a vector for, shape (movies,)."""

    def predict(self, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]) -> Floats:
        """Predicts stars for pairs of raw ids, known or unknown, shape (n,)."""

    def keras_model(self) -> keras.Model:
        """Returns a model of stock layers with the same predictions, as the contract describes."""


@dataclass(frozen=True)
class Fit:
    """Both models fitted to the same interactions.

    Attributes:
        rating: predicts stars.
        rating_config: hyper-parameters of the rating model, with automatic values resolved.
        rating_epochs: number of epochs that the rating model was fitted for.
        towers: rank movies for users.
        interactions: number of interactions that the models were fitted to.
        history: one record for each epoch, in order.
        seconds: duration of each fit, by ``rating`` and ``towers``.
        warm_start: variables of the towers, from which served ones can start; None if the
            architecture is no `WarmFitModels`: its served models are then a refit.
    """

    rating: RatingModel
    rating_config: RatingConfig
    rating_epochs: int
    towers: Towers
    interactions: int
    history: tuple[EpochRecord, ...]
    seconds: dict[str, float]
    warm_start: WarmStart | None = None


class FitModels(Protocol):
    """Fits both models; see `trainer.default_architecture` and examples/another_model."""

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
    ) -> Fit:
        """Fits both models to all ``rows``.

        Args:
            rows: userId, movieId, rating (stars), timestamp (s), sorted by user and time.
            movies: movieId, year, genres.
            config: hyper-parameters.
            seed: seed of all random numbers.
            on_epoch: called after each epoch.
            purpose: ``evaluated``: the fit to the training part; ``served``: the refit to all
                interactions with frozen settings and epochs.
            checkpoints: where the state of a fit may be saved, and resumed from.
            epochs: number of epochs of the rating model; None: the function determines it.
        """


class WarmFitModels(FitModels, Protocol):
    """Fits both models, the towers also from the variables of an earlier fit, which it returned."""

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
        *,
        start: WarmStart | None = None,
    ) -> Fit:
        """Fits both models to all ``rows``; see `FitModels`.

        Args:
            rows: as there.
            movies: those of the earlier fit.
            config: as there, but for the epochs and learning rate of the towers.
            seed: as there.
            on_epoch: as there.
            purpose: as there.
            checkpoints: as there.
            epochs: as there.
            start: the ``warm_start`` of the earlier fit; None: an ordinary fit.
        """
