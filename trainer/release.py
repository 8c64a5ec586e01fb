"""From the trainer's input to a stored release."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from pydantic import ValidationError

from recsys import contract
from recsys.contract import Dims, Manifest, Serving, TrainerInput
from recsys.errors import ArtifactError, DatasetError
from trainer.champion import fetch_champion
from trainer.checkpoints import Keeper, ReadCheckpoints, StoredCheckpoints
from trainer.config import TrainingConfig
from trainer.data import TRAIN, check_tables, part
from trainer.export import Store, upload, write_artifacts
from trainer.lineage import lineage
from trainer.training import FitModels, fit_and_evaluate, refit, shift_rmse

log = logging.getLogger(__name__)


def make_release(
    store: Store,
    given: TrainerInput,
    config: TrainingConfig,
    seed: int,
    environ: Mapping[str, str],
    undisturbed: AbstractContextManager[None],
    fit: FitModels | None = None,
) -> bool:
    """Trains, evaluates and stores the release of ``given``; the manifest is written last.

    A release that is complete already is not made again, because its artifacts may be served: the
    same build has the same release. Only the run nonce in its manifest is brought up to date.

    Args:
        store: where features are read and artifacts are written.
        given: which release, for which run.
        config: how to train.
        seed: the build's.
        environ: read for the code's revision only.
        undisturbed: entered while the manifest and the answer to Airflow are written, so that a
            signal ends the trainer before or after, not between.
        fit: of another architecture; None: the trainer's own.

    Returns:
        Whether it was trained; False if it was complete already.

    Raises:
        DatasetError: the features cannot be trained on.
        RecsysError: see `trainer.training.fit_and_evaluate` and the store.
    """
    checkpoints = StoredCheckpoints(store, given.release_id, given.build.fingerprint)
    complete = _complete_release(store, given)
    if complete:
        log.info("release %s is complete already: not trained again", given.release_id)
        manifest = complete.model_copy(update={"run_nonce": given.run_nonce})
    else:
        manifest = _train(store, given, config, seed, environ, checkpoints, fit)
    key = contract.release_key(given.release_id, contract.MANIFEST_FILE)
    with undisturbed:
        if manifest != complete:
            store.put_bytes(key, manifest.to_json())
            log.info("wrote %s", key)
        xcom = Path(given.xcom_dir)
        if xcom.is_dir():
            (xcom / contract.XCOM_FILE).write_text(json.dumps({"manifest_key": key}))
    checkpoints.clear()
    return complete is None


def take_part(
    store: Store, given: TrainerInput, config: TrainingConfig, seed: int, fit: FitModels
) -> None:
    """What every worker but the chief does of `make_release`: it fits, and writes nothing.

    Args:
        store: where features and checkpoints are read.
        given: which release.
        config: how to train.
        seed: the build's.
        fit: fits together with the other workers.

    Raises:
        DatasetError: the features cannot be trained on.
        TransientError: another worker was lost.
    """
    if _find_complete(store, given):
        return
    keeper = ReadCheckpoints(store, given.release_id, given.build.fingerprint)
    with TemporaryDirectory(prefix="recsys-trainer-") as work:
        interactions, movies = read_features(given.build.dataset_md5, store, Path(work))
    tables = check_tables(interactions, movies)
    evaluated = fit(part(tables[0], TRAIN), tables[1], config, seed, log.info, "evaluated", keeper)
    refit(interactions, movies, config, seed, evaluated, log.info, keeper=keeper, fit=fit)


def _train(
    store: Store,
    given: TrainerInput,
    config: TrainingConfig,
    seed: int,
    environ: Mapping[str, str],
    keeper: Keeper,
    fit: FitModels | None,
) -> Manifest:
    started = time.monotonic()
    seconds: dict[str, float] = {}

    def took(what: str) -> None:
        seconds[what] = round(time.monotonic() - started - sum(seconds.values()), 3)

    with TemporaryDirectory(prefix="recsys-trainer-") as work:
        interactions, movies = read_features(given.build.dataset_md5, store, Path(work))
        dataset_sha256 = _dataset_sha256(given.build.dataset_md5, store)
        took("load")
        log.info("loaded %d interactions and %d movies", len(interactions), len(movies))
        log.info("fitting to the training part, to be evaluated")
        champion = fetch_champion(store, given.champion, Path(work)) if given.champion else None
        evaluated = fit_and_evaluate(
            interactions, movies, config, seed, log.info, champion=champion, keeper=keeper, fit=fit
        )
        took("fit_and_evaluate")
        log.info("metrics on the holdout: %s", json.dumps(evaluated.metrics["model"]))
        log.info("fitting to all interactions, to be served")
        served = refit(
            interactions, movies, config, seed, evaluated.fit, log.info, keeper=keeper, fit=fit
        )
        took("refit")
        shift = shift_rmse(evaluated.predictions, served)
        log.info("served predictions differ from the evaluated ones by %.4f stars (RMS)", shift)
        folder = Path(work) / "release"
        folder.mkdir()
        write_artifacts(folder, evaluated, served, interactions)
        took("export")
        log.info("uploading the artifacts")
        artifacts = upload(store, given.release_id, folder)
        took("upload")
    return Manifest(
        release_id=given.release_id,
        build=given.build,
        fingerprint=given.build.fingerprint,
        run_nonce=given.run_nonce,
        artifacts=artifacts,
        dims=Dims(movie_vectors=contract.MOVIE_VECTOR_DIM, towers=contract.TOWER_DIM),
        serving=Serving(method="refit", interactions=served.interactions, shift_rmse=shift),
        metrics=evaluated.metrics,
        lineage={
            **lineage(config, seed, interactions, movies, evaluated.fit, seconds, environ),
            "champion": given.champion,
            "dataset": {"md5": given.build.dataset_md5, "sha256": dataset_sha256},
            "trainer_digest": given.build.trainer_digest,
        },
        created_at=datetime.now(UTC),
    )


def read_features(md5: str, store: Store, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Interactions and movies of a dataset, as `contract.INTERACTIONS_FILE` describes them.

    Raises:
        DatasetError: they are missing, or are not parquet.
    """
    frames = []
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE):
        key = contract.features_key(md5, name)
        try:
            store.download(key, folder / name)
            frames.append(pl.read_parquet(folder / name))
        except ArtifactError as error:
            raise DatasetError(
                f"the features lack {name}",
                found=str(error),
                expected=key,
                hint="run generate_data_frames before the trainer",
            ) from error
        except pl.exceptions.PolarsError as error:
            raise DatasetError(
                f"{key} is no parquet file that can be read",
                found=str(error),
                hint="make the features again",
            ) from error
    return frames[0], frames[1]


def _dataset_sha256(md5: str, store: Store) -> str | None:
    """sha256 of the dataset's zip as it was recorded when it was fetched, if it is still there."""
    stored = store.head(contract.dataset_key(md5, contract.DATASET_FILE))
    return stored.metadata.get("sha256") if stored else None


def _complete_release(store: Store, given: TrainerInput) -> Manifest | None:
    """The manifest of the release if it is complete; else there is none any more."""
    manifest = _find_complete(store, given)
    if manifest is None:
        # What is about to be overwritten must not look complete meanwhile.
        store.delete([contract.release_key(given.release_id, contract.MANIFEST_FILE)])
    return manifest


def _find_complete(store: Store, given: TrainerInput) -> Manifest | None:
    """The manifest of the release, if all that it names is stored and whole."""
    key = contract.release_key(given.release_id, contract.MANIFEST_FILE)
    try:
        manifest = Manifest.from_json(store.get_bytes(key))
        if manifest.fingerprint == given.build.fingerprint and all(
            store.sha256(artifact.key) == artifact.sha256 for artifact in manifest.artifacts
        ):
            return manifest
    except (ArtifactError, ValidationError):
        pass
    return None
