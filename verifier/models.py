"""Loading a model's file with stock Keras, and asking it for stars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from recsys import contract
from recsys.contract import STARS, RatingScale
from recsys.errors import ArtifactError

_BATCH = 1 << 16


def load_model(path: Path, name: str, made_by: str = "") -> Any:
    """Returns the model of a file, whose members are checked first.

    Args:
        path: the file.
        name: its name, for errors.
        made_by: version of Keras that saved it, if known.

    Raises:
        ArtifactError: the file is not a model's, or does not load with ``safe_mode=True``.
    """
    with path.open("rb") as file:
        contract.check_model_file(file, name)
    try:
        return keras.saving.load_model(path, safe_mode=True)
    # Keras' errors about invalid models have no common base class.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        saved = f"it was saved by Keras {made_by}; a" if made_by else "a"
        raise ArtifactError(
            f"{name} does not load with stock Keras",
            found=f"{type(error).__name__}: {error}",
            expected=f"a model that Keras {keras.__version__} loads with safe_mode=True",
            hint=f"{saved} newer one may not be readable",
        ) from error


def predict(
    model: Any, user_ids: NDArray[np.integer[Any]], movie_ids: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Predicts ratings for pairs of raw ids with a Keras model, shape (n,).

    The model is called, because ``predict`` traces a graph for each model first, which takes longer
    than a few batches.
    """
    users, movies = np.asarray(user_ids, np.int64), np.asarray(movie_ids, np.int64)
    stars = [
        keras.ops.convert_to_numpy(
            model(
                {
                    "userId": users[start : start + _BATCH],
                    "movieId": movies[start : start + _BATCH],
                },
                training=False,
            )
        )
        for start in range(0, len(users), _BATCH)
    ]
    return np.asarray(np.concatenate(stars) if stars else (), np.float32).reshape(-1)


def predict_stars(
    model: Any,
    user_ids: NDArray[np.integer[Any]],
    movie_ids: NDArray[np.integer[Any]],
    scale: RatingScale = STARS,
) -> NDArray[np.float32]:
    """Like `predict`, for a model that nobody has checked yet.

    Args:
        model: the model.
        user_ids: shape (n,).
        movie_ids: shape (n,).
        scale: of the ratings of its dataset.

    Raises:
        ArtifactError: it does not accept the ids, or does not return one valid number of stars for
            each pair.
    """
    try:
        stars = predict(model, user_ids, movie_ids)
    except Exception as error:  # as above
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            raise
        raise ArtifactError(
            "the model does not accept raw ids",
            found=f"{type(error).__name__}: {error}",
            expected="int64 arrays userId and movieId of shape (n,)",
        ) from error
    within = (stars >= scale.min) & (stars <= scale.max)
    if stars.shape != (len(user_ids),) or not within.all():
        raise ArtifactError(
            "the model's predictions are not stars"
            if scale.is_stars
            else "the model's predictions are not in the scale of its dataset",
            found=stars[~within][:5].tolist() if len(stars) == len(user_ids) else stars.shape,
            expected=f"{len(user_ids)} numbers from {scale.min} to {scale.max}",
        )
    return stars
