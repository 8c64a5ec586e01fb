"""The core: interactions and movies in, an evaluated release's models out. It needs no S3.

What is evaluated is fitted to the training part alone. Only then is the same fit repeated with
all interactions, its settings and epochs frozen: that is what is served.
"""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import keras
import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from recsys.errors import TransientError
from recsys.evaluation import evaluate
from trainer.champion import Champion
from trainer.checkpoints import NOWHERE, Checkpoint, Keeper
from trainer.config import RatingConfig, TrainingConfig
from trainer.data import HOLDOUT, TRAIN, Floats, Ints, Ratings, check_tables, make_ratings, part
from trainer.distributed.workers import ALONE, Workers
from trainer.progress import EpochRecord, OnEpoch
from trainer.ranking.model import fit_towers
from trainer.ranking.towers import Towers, recommend
from trainer.rating.fit import fit_rating_model

Purpose = Literal["evaluated", "served"]


class RatingModel(Protocol):
    """What predicts stars, whatever its architecture."""

    @property
    def user_ids(self) -> Ints:
        """Users it knows, shape (users,)."""

    @property
    def movie_ids(self) -> Ints:
        """Movies it knows, shape (movies,)."""

    def predict(self, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]) -> Floats:
        """Stars for pairs of raw ids, known or not, shape (n,)."""

    def keras_model(self) -> keras.Model:
        """Stock layers that answer likewise; see the contract for inputs and output."""


@dataclass(frozen=True)
class Fit:
    """Both models fitted to the same interactions.

    Attributes:
        rating: predicts stars.
        rating_config: how it was fitted, with all that was left open chosen.
        rating_epochs: after how many epochs it was at its best.
        towers: rank movies for users.
        interactions: number of rows that the fit knows.
        history: what each epoch told, in order.
        seconds: that each fit took, by ``rating`` and ``towers``.
    """

    rating: RatingModel
    rating_config: RatingConfig
    rating_epochs: int
    towers: Towers
    interactions: int
    history: tuple[EpochRecord, ...]
    seconds: dict[str, float]


class FitModels(Protocol):
    """Fits both models; `fit_models` is ours, examples/another_model has another."""

    def __call__(
        self,
        rows: pl.DataFrame,
        movies: pl.DataFrame,
        config: TrainingConfig,
        seed: int,
        on_epoch: OnEpoch,
        purpose: Purpose,
        keeper: Keeper,
        epochs: int | None = None,
    ) -> Fit:
        """Fits to all ``rows``.

        Args:
            rows: userId, movieId, rating (stars), timestamp (s), by user and time.
            movies: movieId, year, genres.
            config: how to train.
            seed: of everything random.
            on_epoch: to be told after each epoch.
            purpose: ``served``: the fit to all interactions, settings and epochs frozen.
            keeper: where a state may be kept, and continued from.
            epochs: exactly so many; None: to be found, without the holdout.
        """


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
    *,
    champion: Champion | None = None,
    keeper: Keeper = NOWHERE,
    fit: FitModels | None = None,
) -> Evaluated:
    """Fits to the rows marked ``train`` and measures on those marked ``holdout``.

    Args:
        interactions: userId, movieId, rating (stars), timestamp (s), split.
        movies: movieId, year, genres.
        config: how to train.
        seed: the same seed, tables and machine give the same result.
        on_epoch: told after each epoch.
        champion: measured on the same holdout.
        keeper: where the state of a fit is kept, and continued from.
        fit: of another architecture; None: `fit_models`.

    Raises:
        DatasetError: the tables cannot be trained or evaluated on.
        TrainingError: training diverged.
        EvaluationError: what was saved cannot be measured.
    """
    interactions, movies = check_tables(interactions, movies)
    train, holdout = part(interactions, TRAIN), part(interactions, HOLDOUT)
    made = (fit or fit_models)(train, movies, config, seed, on_epoch, "evaluated", keeper)
    predictions = holdout.select(
        "userId",
        "movieId",
        "rating",
        prediction=made.rating.predict(holdout["userId"].to_numpy(), holdout["movieId"].to_numpy()),
    )
    asked = holdout["userId"].unique().sort().to_numpy()
    recommendations = recommend(made.towers, asked, train)
    metrics = evaluate(
        train=train,
        holdout=holdout,
        predictions=predictions,
        recommendations=recommendations,
        movie_ids=movies["movieId"],
        movies=movies,
        champion=champion.answers(train, holdout, movies) if champion else None,
    )
    return Evaluated(made, predictions, recommendations, metrics)


def refit(
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    evaluated: Fit,
    on_epoch: OnEpoch = lambda record: None,
    *,
    keeper: Keeper = NOWHERE,
    fit: FitModels | None = None,
) -> Fit:
    """Fits to all rows, held out or not, for serving; errors as above.

    Args:
        interactions: as above.
        movies: as above.
        config: as above.
        seed: as above.
        evaluated: the fit to the training part, whose settings and epochs are repeated.
        on_epoch: told after each epoch.
        keeper: as above.
        fit: as above.
    """
    interactions, movies = check_tables(interactions, movies)
    # Nothing is decided by these rows any more, so none is kept from the training.
    rating = evaluated.rating_config.model_copy(update={"validation_share": 0.0})
    frozen = config.model_copy(update={"rating": rating})
    rows = interactions.drop("split")
    epochs = evaluated.rating_epochs
    return (fit or fit_models)(rows, movies, frozen, seed, on_epoch, "served", keeper, epochs)


def shift_rmse(predictions: pl.DataFrame, served: Fit) -> float:
    """Stars between the evaluated and the served predictions of the holdout's pairs (RMS)."""
    stars = served.rating.predict(
        predictions["userId"].to_numpy(), predictions["movieId"].to_numpy()
    )
    return float(np.sqrt(np.mean(np.square(stars - predictions["prediction"].to_numpy()))))


def fit_models(
    rows: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch,
    purpose: Purpose,
    keeper: Keeper,
    epochs: int | None = None,
    workers: Workers = ALONE,
) -> Fit:
    """The product's own architecture; see `FitModels`."""
    tf.config.experimental.enable_op_determinism()
    history: list[EpochRecord] = []

    def record(epoch: EpochRecord) -> None:
        history.append(epoch)
        on_epoch(epoch)

    started = time.monotonic()
    for_split, for_rating, for_towers = np.random.default_rng(seed).spawn(3)
    ratings = make_ratings(rows, movies)
    sized = config.rating.sized(len(ratings))
    hidden = for_split.random(len(ratings)) < sized.validation_share
    # A user's first interaction is never hidden, so that no user is left without any.
    hidden[ratings.user_start[:-1]] = False
    validation = ratings.subset(hidden) if hidden.any() else None
    fitted = ratings.subset(~hidden) if validation else ratings
    scout = sized.scout() if validation else None
    if scout:
        found = fit_rating_model(
            fitted,
            scout,
            for_rating,
            record,
            validation,
            keeper=keeper,
            phase="scout",
            workers=workers,
        )
        epochs, fitted, validation = found.epochs, ratings, None
        _free_variables()
    rating = fit_rating_model(
        fitted,
        sized,
        for_rating,
        record,
        validation,
        epochs=epochs,
        keeper=keeper,
        phase=f"{purpose}-rating",
        workers=workers,
    )
    # What the towers do not need makes room for them.
    del fitted, validation, hidden
    _free_variables()
    rating_took = time.monotonic()
    towers = _fit_towers(ratings, config, for_towers, record, purpose, keeper, workers)
    _free_variables()
    seconds = {"rating": rating_took - started, "towers": time.monotonic() - rating_took}
    return Fit(rating.folded, sized, rating.epochs, towers, len(rows), tuple(history), seconds)


def _free_variables() -> None:
    """Frees the variables of a fit that has ended.

    A ``tf.function`` of a bound method and its object refer to each other, so tables, moments and
    the copies of all interactions would stay until the collector happens to run.
    """
    gc.collect()


def _fit_towers(
    ratings: Ratings,
    config: TrainingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    purpose: Purpose,
    keeper: Keeper,
    workers: Workers,
) -> Towers:
    """Fits the towers, or takes them as they were kept when their fit had ended."""
    phase = f"{purpose}-towers"
    kept = keeper.load(phase)
    found = bool(kept and kept.facts["rows"] == len(ratings))
    if workers.agreed(found) != found:
        raise TransientError(
            f"the workers do not find the same checkpoint of {phase}",
            hint="the next try reads it again",
        )
    if kept and found:
        for record in kept.facts["records"]:
            on_epoch(EpochRecord(**record))
        return Towers(
            ratings.user_ids, ratings.movie_ids, kept.arrays["users"], kept.arrays["movies"]
        )
    records: list[EpochRecord] = []

    def note(record: EpochRecord) -> None:
        records.append(record)
        on_epoch(record)

    towers = fit_towers(ratings, config.ranking, rng, note, workers)
    keeper.save(
        phase,
        Checkpoint(
            {"users": towers.users, "movies": towers.movies},
            {"rows": len(ratings), "records": [asdict(record) for record in records]},
        ),
    )
    return towers
