"""The model as it is served: stock Keras layers only, raw ids in, stars out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from recsys.contract import MAX_STARS, MIN_STARS
from trainer.data import Floats, Ints

if TYPE_CHECKING:
    from trainer.folding import FoldedRating


def build_model(folded: FoldedRating) -> keras.Model:
    """A Keras model that answers as `FoldedRating.predict` does.

    Inputs ``{"userId": int64 (n,), "movieId": int64 (n,)}``; output stars, float32 (n,). Unknown
    ids are no error: see `FoldedRating` for what they get.
    """
    user_id = keras.Input(shape=(), dtype="int64", name="userId")
    movie_id = keras.Input(shape=(), dtype="int64", name="movieId")
    user = _lookup("user", folded.user_ids)(user_id)
    movie = _lookup("movie", folded.movie_ids)(movie_id)
    user_vector = _table("user_vector", folded.user_vectors, 0.0)(user)
    movie_vector = _table("movie_vector", folded.movie_vectors, 0.0)(movie)
    user_bias = _table("user_bias", folded.user_bias[:, None], folded.unknown_user_bias)(user)
    movie_bias = _table("movie_bias", folded.movie_bias[:, None], folded.unknown_movie_bias)(movie)
    stars = keras.layers.Add(name="stars")(
        [
            user_bias,
            movie_bias,
            keras.layers.Dot(axes=1, name="interaction")([user_vector, movie_vector]),
        ]
    )
    return keras.Model({"userId": user_id, "movieId": movie_id}, cut_to_stars(stars), name="recsys")


def cut_to_stars(stars: Any) -> Any:
    """The end of a served model: (n, 1) of anything -> (n,) within the range of stars."""
    # Clipping out of layers, because an operation of keras.ops is no layer: shift, cut, shift back.
    above = keras.layers.Rescaling(1.0, offset=-MIN_STARS, name="above_least")(stars)
    cut = keras.layers.ReLU(max_value=MAX_STARS - MIN_STARS, name="cut")(above)
    shifted = keras.layers.Rescaling(1.0, offset=MIN_STARS, name="within_range")(cut)
    return keras.layers.Reshape((), name="rating")(shifted)


def predict(
    model: keras.Model, user_ids: NDArray[np.integer], movie_ids: NDArray[np.integer]
) -> Floats:
    """Stars that a loaded model gives for pairs of raw ids, shape (n,)."""
    inputs = {
        "userId": np.asarray(user_ids, np.int64),
        "movieId": np.asarray(movie_ids, np.int64),
    }
    return np.asarray(model.predict(inputs, batch_size=1 << 16, verbose=0), np.float32).reshape(-1)


def _lookup(name: str, ids: Ints) -> Any:
    """Raw id -> row of the tables; row 0 is for unknown ids."""
    return keras.layers.IntegerLookup(
        vocabulary=ids.astype(np.int64), num_oov_indices=1, name=f"{name}_row"
    )


def _table(name: str, rows: Floats, unknown: float) -> Any:
    """An embedding with these rows; the row of unknown ids, never trained, is set to a constant."""
    weights = np.vstack([np.full((1, rows.shape[1]), unknown, np.float32), rows])
    layer = keras.layers.Embedding(*weights.shape, name=name)
    layer.build((None,))
    layer.set_weights([weights])
    return layer
