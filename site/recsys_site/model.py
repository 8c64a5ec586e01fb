"""The Keras model of a release, which predicts stars for pairs of a user and a movie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

UNKNOWN_USER: Final = 0
"""An id that no MovieLens user has: the model predicts the stars of a typical user."""
_BATCH: Final = 256


class StarModel:
    """Predicts in milliseconds: one function is traced for one shape, so no request compiles.

    Args:
        path: a release's ``model.keras``; stock Keras loads it in safe mode.
    """

    def __init__(self, path: Path) -> None:
        # A keras.json in the home of the account may name a backend that is not installed.
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("KERAS_HOME", os.devnull)
        # TensorFlow takes seconds to import: only processes that load a model should wait for it.
        import keras
        import tensorflow as tf

        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        ids = tf.TensorSpec((_BATCH,), tf.int64)

        def stars(users: Any, movies: Any) -> Any:
            return tf.reshape(model({"userId": users, "movieId": movies}, training=False), [-1])

        self._stars = tf.function(stars, input_signature=[ids, ids])
        self.predict(UNKNOWN_USER, [1])

    def predict(self, user_id: int, movie_ids: Sequence[int]) -> NDArray[np.float32]:
        """Predicts the stars (0.5..5.0) that a user would give movies, shape (len(movie_ids),)."""
        count = len(movie_ids)
        padded = np.zeros(-(-count // _BATCH) * _BATCH, np.int64)
        padded[:count] = movie_ids
        users = np.full(_BATCH, user_id, np.int64)
        parts = [
            self._stars(users, padded[first : first + _BATCH]).numpy()
            for first in range(0, len(padded), _BATCH)
        ]
        return np.concatenate(parts)[:count] if parts else np.zeros(0, np.float32)
