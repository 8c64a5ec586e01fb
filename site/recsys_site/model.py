"""The Keras model of a release, which predicts stars for pairs of a user and a movie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

UNKNOWN_USER: Final = 0
"""An id that no MovieLens user has: the model predicts the stars of a typical user."""


class UnsupportedModelError(ValueError):
    """The site's backend cannot load a model; the text may be shown to visitors."""


class StarModel:
    """Predicts in milliseconds, on Keras' NumPy backend: nothing is traced or compiled.

    Args:
        path: a release's ``model.keras``; stock Keras loads it in safe mode.

    Raises:
        UnsupportedModelError: a layer of the model needs TensorFlow.
    """

    def __init__(self, path: Path) -> None:
        # A keras.json in the home of the account may name a backend that is not installed.
        os.environ["KERAS_BACKEND"] = "numpy"
        os.environ.setdefault("KERAS_HOME", os.devnull)
        # Keras takes a second to import: only processes that load a model should wait for it.
        from recsys_site.stored_models import load_model

        self._model = load_model(path)
        self.predict(UNKNOWN_USER, [1])

    def predict(self, user_id: int, movie_ids: Sequence[int]) -> NDArray[np.float32]:
        """Predicts the stars (0.5..5.0) that a user would give movies, shape (len(movie_ids),)."""
        if not len(movie_ids):
            return np.zeros(0, np.float32)
        movies = np.asarray(movie_ids, np.int64)
        users = np.full(len(movies), user_id, np.int64)
        stars = self._model({"userId": users, "movieId": movies}, training=False)
        return np.asarray(stars, np.float32).reshape(-1)
