"""Plain matrix factorization in stock Keras, trained by ``fit()``; the towers are the trainer's.

stars = mean + user_bias + movie_bias + user_vector . movie_vector (Koren, Bell and Volinsky,
"Matrix factorization techniques for recommender systems", Computer 42, 2009).

Its hyper-parameters are the settings epochs, patience, learning_rate, factors, batch_size and
validation_share of ``rating``. The trainer evaluates it and writes artifacts, golden predictions
and manifest as for its default architecture.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from trainer.architecture import Fit, Purpose
from trainer.checkpoints import CheckpointStore
from trainer.config import TrainingConfig
from trainer.data import Floats, Ids, make_ratings
from trainer.progress import EpochRecord, OnEpoch
from trainer.ranking.fit import fit_towers
from trainer.rating.folded import clip_to_star_range, predict

_FACTORS: Final = 16
_BATCH: Final = 512
_PENALTY: Final = 2e-5
_TABLES: Final = ("user_vector", "movie_vector", "user_bias", "movie_bias")


@dataclass(frozen=True)
class KerasRating:
    """The fitted model, as a `trainer.architecture.RatingModel`.

    Attributes:
        user_ids: sorted, shape (users,).
        movie_ids: sorted, shape (movies,).
        model: predicts stars for raw ids.
    """

    user_ids: Ids
    movie_ids: Ids
    model: keras.Model

    def predict(self, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]) -> Floats:
        """Predicts stars for pairs of raw ids, shape (n,)."""
        return predict(self.model, user_ids, movie_ids)

    def keras_model(self) -> keras.Model:
        """Returns the model."""
        return self.model


def fit_models(
    rows: pl.DataFrame,
    movies: pl.DataFrame,
    config: TrainingConfig,
    seed: int,
    on_epoch: OnEpoch,
    purpose: Purpose,
    checkpoints: CheckpointStore,
    epochs: int | None = None,
) -> Fit:
    """Fits both models; see `trainer.architecture.FitModels`. It saves no checkpoints."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    history: list[EpochRecord] = []

    def record(epoch: EpochRecord) -> None:
        history.append(epoch)
        on_epoch(epoch)

    for_split, for_towers = np.random.default_rng(seed).spawn(2)
    ratings = make_ratings(rows, movies)
    started = time.monotonic()
    fitted, served = _models(
        ratings.user_ids, ratings.movie_ids, float(ratings.stars.mean()), config
    )
    inputs = {
        "userId": ratings.user_ids[ratings.user].astype(np.int64),
        "movieId": ratings.movie_ids[ratings.movie].astype(np.int64),
    }
    hidden = for_split.random(len(ratings)) < config.rating.validation_share
    run = _train(fitted, inputs, ratings.stars, hidden, config, record, epochs)
    _zero_unknown_rows(fitted)
    rating_ended = time.monotonic()
    towers = fit_towers(ratings, config.ranking, for_towers, record)
    return Fit(
        rating=KerasRating(ratings.user_ids, ratings.movie_ids, served),
        rating_config=config.rating,
        rating_epochs=run,
        towers=towers,
        interactions=len(rows),
        history=tuple(history),
        seconds={"rating": rating_ended - started, "towers": time.monotonic() - rating_ended},
    )


def _models(
    user_ids: Ids, movie_ids: Ids, mean: float, config: TrainingConfig
) -> tuple[keras.Model, keras.Model]:
    """Returns the model to fit, and one with the same weights, clipped to the range of stars."""
    user_id = keras.Input(shape=(), dtype="int64", name="userId")
    movie_id = keras.Input(shape=(), dtype="int64", name="movieId")
    factors = config.rating.factors or _FACTORS
    user = keras.layers.IntegerLookup(vocabulary=user_ids.astype(np.int64), name="user_row")(
        user_id
    )
    movie = keras.layers.IntegerLookup(vocabulary=movie_ids.astype(np.int64), name="movie_row")(
        movie_id
    )
    users, items = len(user_ids) + 1, len(movie_ids) + 1
    likeness = keras.layers.Dot(axes=1, name="likeness")(
        [
            _table("user_vector", users, factors, "normal")(user),
            _table("movie_vector", items, factors, "normal")(movie),
        ]
    )
    biases = [
        _table("user_bias", users, 1, "zeros")(user),
        _table("movie_bias", items, 1, "zeros")(movie),
    ]
    offset = keras.layers.Add(name="offset")([*biases, likeness])
    stars = keras.layers.Rescaling(1.0, offset=mean, name="stars")(offset)
    inputs = {"userId": user_id, "movieId": movie_id}
    return keras.Model(inputs, stars), keras.Model(
        inputs, clip_to_star_range(stars), name="factorization"
    )


def _table(name: str, rows: int, dim: int, start: str) -> Any:
    initializer = keras.initializers.RandomNormal(stddev=0.1) if start == "normal" else start
    return keras.layers.Embedding(
        rows,
        dim,
        embeddings_initializer=initializer,
        embeddings_regularizer=keras.regularizers.L2(_PENALTY),
        name=name,
    )


def _train(
    model: keras.Model,
    inputs: dict[str, NDArray[np.int64]],
    stars: Floats,
    hidden: NDArray[np.bool_],
    config: TrainingConfig,
    record: OnEpoch,
    epochs: int | None,
) -> int:
    """Trains the model; returns the number of epochs of its current weights."""
    began = [time.monotonic()]

    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        val_mse = logs.get("val_mse")
        rmse = None if val_mse is None else float(np.sqrt(val_mse))
        record(EpochRecord("rating", epoch + 1, float(logs["mse"]), rmse, now - began[0]))
        began[0] = now

    callbacks: list[Any] = [keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)]
    validation = None
    if epochs is None and hidden.any():
        validation = ({name: ids[hidden] for name, ids in inputs.items()}, stars[hidden])
        stopping = keras.callbacks.EarlyStopping(
            "val_mse", patience=config.rating.patience, restore_best_weights=True
        )
        callbacks.append(stopping)
        inputs, stars = {name: ids[~hidden] for name, ids in inputs.items()}, stars[~hidden]
    model.compile(keras.optimizers.Adam(config.rating.learning_rate), loss="mse", metrics=["mse"])
    done = model.fit(
        inputs,
        stars,
        epochs=epochs or config.rating.epochs,
        batch_size=config.rating.batch_size or _BATCH,
        validation_data=validation,
        callbacks=callbacks,
        verbose=0,
    )
    if validation is None:
        return len(done.epoch)
    return int(np.argmin(done.history["val_mse"])) + 1


def _zero_unknown_rows(model: keras.Model) -> None:
    """Zeroes row 0 of all tables, that of unknown ids, which is never trained."""
    for name in _TABLES:
        layer = model.get_layer(name)
        [table] = layer.get_weights()
        table[0] = 0.0
        layer.set_weights([table])
