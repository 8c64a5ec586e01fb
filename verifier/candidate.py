"""Checks a stored candidate: its manifest, and that its model loads and reproduces its predictions.

Only stock Keras is imported: the model must not need any of the trainer's code.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from pydantic import ValidationError

from recsys import contract
from recsys.contract import STARS, GoldenPredictions, Manifest, RatingScale, TrainerInput
from recsys.errors import ArtifactError, first_invalid_field
from verifier.models import load_model, predict_stars
from verifier.second_backend import check_on_second_backend

log = logging.getLogger(__name__)

_UNKNOWN_IDS = (0, -1, 2**31 - 1, 2**62)


class Reader(Protocol):
    """The methods of `recsys.object_store.ObjectStore` that the verifier reads with."""

    def get_bytes(self, key: str) -> bytes:
        """Reads an object."""

    def download(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Downloads to ``path``, verifying the sha256 if there is one."""


@dataclass(frozen=True)
class Candidate:
    """A candidate whose manifest belongs to the run.

    Attributes:
        manifest: its manifest.
        manifest_sha256: of the manifest's bytes.
    """

    manifest: Manifest
    manifest_sha256: str


def read_candidate(store: Reader, trainer_input: TrainerInput) -> Candidate:
    """Reads and checks the manifest of a candidate.

    Raises:
        ArtifactError: it is missing, invalid or another run's.
    """
    key = contract.release_key(trainer_input.release_id, contract.MANIFEST_FILE)
    data = store.get_bytes(key)
    try:
        manifest = Manifest.from_json(data)
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
    return Candidate(manifest, hashlib.sha256(data).hexdigest())


def fetch(store: Reader, manifest: Manifest, name: str, folder: Path) -> Path:
    """Downloads an artifact, compares its sha256 with the manifest's, and returns its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    artifact = manifest.artifact(name)
    store.download(artifact.key, path, artifact.sha256)
    return path


def load_served_model(
    store: Reader, manifest: Manifest, folder: Path, *, second_backend: bool = True
) -> Any:
    """Returns the model that a candidate would serve, after a check.

    A model that needs no particular backend is also checked on a second one, unless the caller
    has done so.

    Raises:
        ArtifactError: a file is missing or changed, or the model does not load or does not
            reproduce the golden predictions.
    """
    path = fetch(store, manifest, contract.MODEL_FILE, folder)
    try:
        golden = GoldenPredictions.model_validate_json(
            fetch(store, manifest, contract.GOLDEN_FILE, folder).read_bytes()
        )
    except ValidationError as error:
        raise ArtifactError(
            "the golden predictions are malformed", found=str(first_invalid_field(error))
        ) from error
    model = load_model(path, contract.MODEL_FILE, golden.keras_version)
    scale = manifest.build.features.scale
    check_golden(model, golden, scale)
    if second_backend and manifest.requires_backend == "any":
        check_on_second_backend(path, folder / contract.GOLDEN_FILE, scale)
    return model


def check_golden(model: Any, golden: GoldenPredictions, scale: RatingScale = STARS) -> None:
    """Raises ArtifactError unless a model reproduces its predictions and accepts unknown ids.

    Args:
        model: the model.
        golden: its predictions when it was made.
        scale: of the ratings of its dataset.
    """
    users, movies = (np.array(ids, np.int64) for ids in (golden.user_ids, golden.movie_ids))
    stars = predict_stars(model, users, movies, scale)
    max_difference = float(np.max(np.abs(stars - np.array(golden.stars, np.float32))))
    tolerance = contract.GOLDEN_TOLERANCE * scale.factor
    if not max_difference <= tolerance:
        raise ArtifactError(
            "the model does not reproduce its golden predictions",
            found=f"a difference of {max_difference:.6f} stars",
            expected=f"at most {tolerance:g}",
            hint="train again; if it happens again, this machine's floating-point results differ",
        )
    known, unknown = len(_UNKNOWN_IDS), np.array(_UNKNOWN_IDS, np.int64)
    predict_stars(
        model,
        np.concatenate([unknown, users[:1].repeat(known), unknown]),
        np.concatenate([movies[:1].repeat(known), unknown, unknown]),
        scale,
    )
    log.info(
        "the model loads with stock Keras %s and reproduces %d golden predictions to %.1e stars",
        keras.__version__,
        len(golden.stars),
        max_difference,
    )
