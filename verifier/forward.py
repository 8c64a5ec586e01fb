"""Predicts newer ratings with served releases, for the forward test of the pipeline.

The pipeline has written which pairs it asks for; the trainer's account cannot write there. It
computes the metrics itself, from ratings that this process does not get.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl
from pydantic import ValidationError

from recsys import contract
from recsys.contract import STARS, Manifest, RatingScale, TrainerInput
from recsys.errors import ArtifactError, ConfigurationError, PermanentError, first_invalid_field
from verifier.models import load_model, predict_stars

if TYPE_CHECKING:
    from recsys.object_store import ObjectStore

log = logging.getLogger(__name__)


def predict_file(model: Path, pairs: Path, predictions: Path, scale: RatingScale = STARS) -> None:
    """Predicts stars with a served model for the pairs of a file.

    Args:
        model: the model's file.
        pairs: parquet with userId, movieId.
        predictions: the parquet to write: the pairs, and prediction.
        scale: of the ratings of the model's dataset.

    Raises:
        ArtifactError: the model does not load, or does not predict stars.
    """
    asked = pl.read_parquet(pairs, columns=["userId", "movieId"])
    stars = predict_stars(
        load_model(model, contract.MODEL_FILE),
        asked["userId"].to_numpy(),
        asked["movieId"].to_numpy(),
        scale,
    )
    asked.with_columns(prediction=pl.Series(stars)).write_parquet(predictions)
    log.info("predicted %d newer ratings", asked.height)


def predict_newer(store: ObjectStore, trainer_input: TrainerInput) -> None:
    """Predicts stars with each release that a forward test asks for; writes them to the inbox.

    A release that cannot answer does not keep the others from it.

    Args:
        store: the object store.
        trainer_input: names the releases, the features with the pairs, and the key of the seal.

    Raises:
        ConfigurationError: no release or no key was given.
        PermanentError: a release cannot answer; the answers of the others are written.
        TransientError: the store is unavailable.
    """
    if not trainer_input.forward or trainer_input.seal is None:
        raise ConfigurationError(
            "the forward test's input is incomplete",
            expected=f"{contract.ENV_FORWARD} and {contract.ENV_SEAL}",
            hint="without a store, `forward MODEL PAIRS PREDICTIONS` predicts with a model's file",
        )
    failure: PermanentError | None = None
    for release_id in trainer_input.forward:
        try:
            _predict(store, trainer_input, release_id, trainer_input.seal)
        except PermanentError as error:
            log.warning("release %s predicts no stars: %s", release_id, error)
            failure = failure or error
    if failure is not None:
        raise failure


def _predict(
    store: ObjectStore, trainer_input: TrainerInput, release_id: str, seal_key: str
) -> None:
    prefix = trainer_input.build.features_prefix
    with TemporaryDirectory(prefix="recsys-forward-") as work:
        model, pairs, stars = (Path(work) / name for name in ("model.keras", "pairs", "stars"))
        store.download(contract.forward_pairs_key(prefix, release_id), pairs)
        manifest = _manifest(store, release_id)
        artifact = manifest.artifact(contract.MODEL_FILE)
        store.download(artifact.key, model, artifact.sha256)
        predict_file(model, pairs, stars, manifest.build.features.scale)
        key = trainer_input.inbox_key(contract.forward_file(release_id))
        store.put_bytes(key, contract.seal(stars.read_bytes(), seal_key, about=release_id))
    log.info("wrote %s", key)


def _manifest(store: ObjectStore, release_id: str) -> Manifest:
    key = contract.release_key(release_id, contract.MANIFEST_FILE)
    try:
        return Manifest.from_json(store.get_bytes(key))
    except ValidationError as error:
        raise ArtifactError(
            f"{key} is not a valid manifest", found=str(first_invalid_field(error))
        ) from error
