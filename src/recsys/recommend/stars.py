"""Stars that the served model predicts, for people who ask on the command line.

The site has the model loaded. The package has no Keras, so a process of the trainer's environment
predicts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from recsys import contract, ledger
from recsys.recommend.catalog import ScoredMovie
from recsys.scratch import scratch_folder
from recsys.services import Services
from recsys.trainer_process import LocalTrainer

log = logging.getLogger(__name__)


def predict_stars(
    services: Services,
    trainer: LocalTrainer,
    release_id: str,
    user_id: int,
    movies: Sequence[ScoredMovie],
) -> list[ScoredMovie]:
    """Adds to movies the stars that a release's model predicts for a user.

    Args:
        services: the stack.
        trainer: whose environment has Keras.
        release_id: the release whose model predicts.
        user_id: a user of its dataset.
        movies: movies of its dataset.

    Returns:
        The movies, in the same order.

    Raises:
        ConfigurationError: the trainer's environment is missing.
        LedgerError: there is no such release.
        ArtifactError: the stored model is not the one of the manifest.
        TrainingError: the model does not load, or does not predict stars.
    """
    trainer.check_installed()
    with services.connect() as conn:
        release = ledger.get(conn, release_id)
    manifest = release.complete_manifest
    artifact = manifest.artifact(contract.MODEL_FILE)
    with scratch_folder("stars") as work:
        model, pairs, predictions = (
            work / name for name in (contract.MODEL_FILE, "pairs", "predictions")
        )
        services.store.download(artifact.key, model, artifact.sha256)
        ids = [movie.movie_id for movie in movies]
        pl.DataFrame({"userId": [user_id] * len(ids), "movieId": ids}).write_parquet(pairs)
        light = manifest.requires_backend == "any"
        scale = manifest.build.features.scale
        trainer.predict(model, pairs, predictions, log.debug, light=light, scale=scale)
        answered = pl.read_parquet(predictions)
    stars = dict(zip(answered["movieId"], answered["prediction"], strict=True))
    return [replace(movie, stars=float(stars[movie.movie_id])) for movie in movies]
