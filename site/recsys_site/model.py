"""The Keras model of a release: stars for pairs of a user and a movie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

UNKNOWN_USER: Final = 0
"""No user of a MovieLens dataset: the model answers with what it expects of a typical user."""
_BATCH: Final = 256


class StarModel:
    """Answers in milliseconds: one traced function of one shape, so nothing is compiled later.

    Args:
        path: of a release's ``model.keras``; stock Keras loads it in safe mode.
    """

    def __init__(self, path: Path) -> None:
        # TensorFlow takes seconds to import: whoever only draws pages never waits for it.
        import keras
        import tensorflow as tf

        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        ids = tf.TensorSpec((_BATCH,), tf.int64)

        def stars(users: Any, movies: Any) -> Any:
            return tf.reshape(model({"userId": users, "movieId": movies}, training=False), [-1])

        self._stars = tf.function(stars, input_signature=[ids, ids])
        self.predict(UNKNOWN_USER, [1])

    def predict(self, user_id: int, movie_ids: Sequence[int]) -> NDArray[np.float32]:
        """Stars, 0.5..5.0, that the user would give each movie, shape (len(movie_ids),)."""
        count = len(movie_ids)
        padded = np.zeros(-(-count // _BATCH) * _BATCH, np.int64)
        padded[:count] = movie_ids
        users = np.full(_BATCH, user_id, np.int64)
        parts = [
            self._stars(users, padded[first : first + _BATCH]).numpy()
            for first in range(0, len(padded), _BATCH)
        ]
        return np.concatenate(parts)[:count] if parts else np.zeros(0, np.float32)
