"""Verifies a stored release in a fresh process: the model loads and reproduces its predictions.

Only stock Keras is imported here: the model must not need any of the trainer's code.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from recsys import contract
from recsys.contract import GoldenPredictions, Manifest, TrainerInput
from recsys.errors import ArtifactError, first_invalid_field

log = logging.getLogger(__name__)

_UNKNOWN_IDS = (0, -1, 2**31 - 1, 2**62)


class _Reader(Protocol):
    def get_bytes(self, key: str) -> bytes: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...


def verify_release(store: _Reader, trainer_input: TrainerInput) -> Manifest:
    """Loads the release's model and compares its predictions with the golden predictions.

    Raises:
        ArtifactError: the manifest is missing or another run's, a file is missing or changed, or
            the model does not load or does not reproduce the golden predictions.
    """
    key = contract.release_key(trainer_input.release_id, contract.MANIFEST_FILE)
    try:
        manifest = Manifest.from_json(store.get_bytes(key))
    except ValidationError as error:
        raise ArtifactError(
            f"{key} is not a valid manifest", found=str(first_invalid_field(error))
        ) from error
    contract.check_manifest(
        manifest,
        release_id=trainer_input.release_id,
        fingerprint=trainer_input.build.fingerprint,
        run_nonce=trainer_input.run_nonce,
    )
    with TemporaryDirectory(prefix="recsys-verify-") as work:
        paths = {}
        for name in (contract.MODEL_FILE, contract.GOLDEN_FILE):
            paths[name] = Path(work) / name
            artifact = manifest.artifact(name)
            store.download(artifact.key, paths[name], artifact.sha256)
        try:
            golden = GoldenPredictions.model_validate_json(paths[contract.GOLDEN_FILE].read_bytes())
        except ValidationError as error:
            raise ArtifactError(
                "the golden predictions are malformed", found=str(first_invalid_field(error))
            ) from error
        check_model(paths[contract.MODEL_FILE], golden)
    return manifest


def check_model(path: Path, golden: GoldenPredictions) -> None:
    """Checks that the file is a model's, loads with stock Keras, and reproduces the predictions.

    Raises:
        ArtifactError: it does not.
    """
    import keras

    with path.open("rb") as file:
        contract.check_model_file(file, contract.MODEL_FILE)
    try:
        model = keras.saving.load_model(path, safe_mode=True)
    # Keras' errors about invalid models have no common base class.
    except Exception as error:
        raise ArtifactError(
            "the model does not load with stock Keras",
            found=f"{type(error).__name__}: {error}",
            expected=f"a model that Keras {keras.__version__} loads with safe_mode=True",
            hint=f"it was saved by Keras {golden.keras_version}; a newer one may not be readable",
        ) from error
    stars = _predict(model, golden.user_ids, golden.movie_ids)
    max_difference = float(np.max(np.abs(stars - np.array(golden.stars, np.float32))))
    if not max_difference <= contract.GOLDEN_TOLERANCE:
        raise ArtifactError(
            "the model does not reproduce its golden predictions",
            found=f"a difference of {max_difference:.6f} stars",
            expected=f"at most {contract.GOLDEN_TOLERANCE}",
            hint="train again; if it happens again, this machine's floating-point results differ",
        )
    known_user, known_movie = golden.user_ids[0], golden.movie_ids[0]
    users = [*_UNKNOWN_IDS, *[known_user] * len(_UNKNOWN_IDS), *_UNKNOWN_IDS]
    movies = [*[known_movie] * len(_UNKNOWN_IDS), *_UNKNOWN_IDS, *_UNKNOWN_IDS]
    _predict(model, users, movies)
    log.info(
        "the model loads with stock Keras %s and reproduces %d golden predictions to %.1e stars",
        keras.__version__,
        len(golden.stars),
        max_difference,
    )


def _predict(model: Any, user_ids: list[int], movie_ids: list[int]) -> NDArray[np.float32]:
    """Predicts stars, shape (n,); raises ArtifactError if one is outside the range of stars."""
    inputs = {
        "userId": np.array(user_ids, np.int64),
        "movieId": np.array(movie_ids, np.int64),
    }
    try:
        stars = np.asarray(model.predict(inputs, verbose=0)).reshape(-1)
    except Exception as error:  # as above
        raise ArtifactError(
            "the model does not accept raw ids",
            found=f"{type(error).__name__}: {error}",
            expected="int64 arrays userId and movieId of shape (n,)",
        ) from error
    within = (stars >= contract.MIN_STARS) & (stars <= contract.MAX_STARS)
    if stars.shape != (len(user_ids),) or not within.all():
        raise ArtifactError(
            "the model's predictions are not stars",
            found=stars[~within][:5].tolist() if stars.size == len(user_ids) else stars.shape,
            expected=f"{len(user_ids)} numbers from {contract.MIN_STARS} to {contract.MAX_STARS}",
        )
    return stars.astype(np.float32)
