"""Does the stored model load and answer as recorded? Asked in a fresh process, with stock Keras.

Nothing of the trainer's own model code is imported here: what loads must need none of it.
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
from recsys.errors import ArtifactError

log = logging.getLogger(__name__)

_UNKNOWN_IDS = (0, -1, 2**31 - 1, 2**62)


class _Reader(Protocol):
    def get_bytes(self, key: str) -> bytes: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...


def verify_release(store: _Reader, given: TrainerInput) -> Manifest:
    """Loads the release's model by its manifest and compares its answers with the golden ones.

    Raises:
        ArtifactError: the manifest is missing or another run's, a file is missing or changed, or
            the model does not load or answers otherwise than recorded.
    """
    key = contract.release_key(given.release_id, contract.MANIFEST_FILE)
    try:
        manifest = Manifest.from_json(store.get_bytes(key))
    except ValidationError as error:
        raise ArtifactError(f"{key} is no manifest", found=str(error)) from error
    for name, found, expected in (
        ("build fingerprint", manifest.fingerprint, given.build.fingerprint),
        ("run nonce", manifest.run_nonce, given.run_nonce),
    ):
        if found != expected:
            raise ArtifactError(
                f"the manifest has another {name}",
                found=found,
                expected=expected,
                hint="another run wrote it: train again",
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
            raise ArtifactError("the golden predictions are malformed", found=str(error)) from error
        check_model(paths[contract.MODEL_FILE], golden)
    return manifest


def check_model(path: Path, golden: GoldenPredictions) -> None:
    """Raises ArtifactError unless the model loads with stock Keras and answers as recorded."""
    import keras

    try:
        model = keras.saving.load_model(path, safe_mode=True)
    # Keras raises what the broken part happens to raise: there is no common base.
    except Exception as error:
        raise ArtifactError(
            "the model does not load with stock Keras",
            found=f"{type(error).__name__}: {error}",
            expected=f"a model that Keras {keras.__version__} loads with safe_mode=True",
            hint=f"it was saved by Keras {golden.keras_version}; a newer one may not be readable",
        ) from error
    stars = _answer(model, golden.user_ids, golden.movie_ids)
    furthest = float(np.max(np.abs(stars - np.array(golden.stars, np.float32))))
    if not furthest <= contract.GOLDEN_TOLERANCE:
        raise ArtifactError(
            "the model does not reproduce its golden predictions",
            found=f"a difference of {furthest:.6f} stars",
            expected=f"at most {contract.GOLDEN_TOLERANCE}",
            hint="train again; if it happens again, this machine computes otherwise",
        )
    known_user, known_movie = golden.user_ids[0], golden.movie_ids[0]
    users = [*_UNKNOWN_IDS, *[known_user] * len(_UNKNOWN_IDS), *_UNKNOWN_IDS]
    movies = [*[known_movie] * len(_UNKNOWN_IDS), *_UNKNOWN_IDS, *_UNKNOWN_IDS]
    _answer(model, users, movies)
    log.info(
        "the model loads with stock Keras %s and reproduces %d golden predictions to %.1e stars",
        keras.__version__,
        len(golden.stars),
        furthest,
    )


def _answer(model: Any, user_ids: list[int], movie_ids: list[int]) -> NDArray[np.float32]:
    """Stars, shape (n,); raises ArtifactError unless all are within the range of stars."""
    inputs = {
        "userId": np.array(user_ids, np.int64),
        "movieId": np.array(movie_ids, np.int64),
    }
    try:
        stars = np.asarray(model.predict(inputs, verbose=0)).reshape(-1)
    except Exception as error:  # as above
        raise ArtifactError(
            "the model does not take raw ids",
            found=f"{type(error).__name__}: {error}",
            expected="int64 arrays userId and movieId of shape (n,)",
        ) from error
    within = (stars >= contract.MIN_STARS) & (stars <= contract.MAX_STARS)
    if stars.shape != (len(user_ids),) or not within.all():
        raise ArtifactError(
            "the model's answers are not stars",
            found=stars[~within][:5].tolist() if stars.size == len(user_ids) else stars.shape,
            expected=f"{len(user_ids)} numbers from {contract.MIN_STARS} to {contract.MAX_STARS}",
        )
    return stars.astype(np.float32)
