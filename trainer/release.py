"""Makes a release: reads features, trains, uploads artifacts, and writes the manifest last."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from recsys import contract
from recsys.contract import Dims, Manifest, Serving, TrainerInput
from recsys.errors import ArtifactError
from recsys.evaluation import TRAIN, part
from trainer.architecture import FitModels
from trainer.checkpoints import CheckpointStore, ReadOnlyCheckpoints, StoredCheckpoints
from trainer.config import TrainingConfig
from trainer.data import check_tables
from trainer.export import Store, upload, write_artifacts
from trainer.model_file import required_backend
from trainer.provenance import provenance
from trainer.scaled import fit_in_scale
from trainer.training import fit_and_evaluate, fit_served, is_warm, served_errors
from verifier.champion import fetch_champion
from verifier.features import read_features

log = logging.getLogger(__name__)


def make_release(
    store: Store,
    trainer_input: TrainerInput,
    config: TrainingConfig,
    seed: int,
    environ: Mapping[str, str],
    sigterm_deferred: AbstractContextManager[None],
    fit: FitModels | None = None,
) -> bool:
    """Trains, evaluates and stores the release of a build; the manifest is written last.

    Everything is written to the run's inbox, from which the pipeline copies what it has checked.
    What an earlier attempt of the same run has completed there is not made again.

    Args:
        store: where features are read and artifacts are written.
        trainer_input: the build and the run.
        config: hyper-parameters.
        seed: the build's.
        environ: read for the code's revision only.
        sigterm_deferred: entered while the manifest and the XCom file are written, so that SIGTERM
            ends the trainer before or after both writes, not between them.
        fit: the architecture; None: `trainer.default_architecture`.

    Returns:
        True if the release was trained, False if this run had completed it already.

    Raises:
        DatasetError: the features cannot be trained on.
        RecsysError: see `trainer.training.fit_and_evaluate` and the store.
    """
    checkpoints = StoredCheckpoints(
        store, trainer_input.release_id, trainer_input.build.fingerprint
    )
    complete = _complete_release(store, trainer_input)
    if complete:
        log.info("release %s is already complete: not trained again", trainer_input.release_id)
    manifest = complete or _train(store, trainer_input, config, seed, environ, checkpoints, fit)
    key = trainer_input.inbox_key(contract.MANIFEST_FILE)
    with sigterm_deferred:
        if complete is None:
            store.put_bytes(key, manifest.to_json())
            log.info("wrote %s", key)
        xcom = Path(trainer_input.xcom_dir)
        if xcom.is_dir():
            (xcom / contract.XCOM_FILE).write_text(json.dumps({"manifest_key": key}))
    checkpoints.clear()
    return complete is None


def fit_as_worker(
    store: Store, trainer_input: TrainerInput, config: TrainingConfig, seed: int, fit: FitModels
) -> None:
    """Fits as a worker that is not the chief: like `make_release`, but it writes nothing.

    Args:
        store: where features and checkpoints are read.
        trainer_input: the build and the run.
        config: hyper-parameters.
        seed: the build's.
        fit: fits both models together with the other workers.

    Raises:
        DatasetError: the features cannot be trained on.
        TransientError: another worker was lost.
    """
    if _find_complete(store, trainer_input):
        return
    checkpoints = ReadOnlyCheckpoints(
        store, trainer_input.release_id, trainer_input.build.fingerprint
    )
    with TemporaryDirectory(prefix="recsys-trainer-") as work:
        interactions, movies = read_features(trainer_input.build, store, Path(work))
    scale = trainer_input.build.features.scale
    tables = check_tables(interactions, movies, scale)
    evaluated = fit_in_scale(fit, scale)(
        part(tables[0], TRAIN), tables[1], config, seed, log.info, "evaluated", checkpoints
    )
    fit_served(
        interactions,
        movies,
        config,
        seed,
        evaluated,
        log.info,
        checkpoints=checkpoints,
        fit=fit,
        scale=scale,
    )


def _train(
    store: Store,
    trainer_input: TrainerInput,
    config: TrainingConfig,
    seed: int,
    environ: Mapping[str, str],
    checkpoints: CheckpointStore,
    fit: FitModels | None,
) -> Manifest:
    started, scale = time.monotonic(), trainer_input.build.features.scale
    seconds: dict[str, float] = {}

    def record_duration(phase: str) -> None:
        seconds[phase] = round(time.monotonic() - started - sum(seconds.values()), 3)

    with TemporaryDirectory(prefix="recsys-trainer-") as work:
        interactions, movies = read_features(trainer_input.build, store, Path(work))
        dataset_sha256 = _dataset_sha256(trainer_input.build.dataset_md5, store)
        record_duration("load")
        log.info("loaded %d interactions and %d movies", len(interactions), len(movies))
        log.info("fitting to the training part, for evaluation")
        champion = (
            fetch_champion(store, trainer_input.champion, Path(work), scale)
            if trainer_input.champion
            else None
        )
        evaluated = fit_and_evaluate(
            interactions,
            movies,
            config,
            seed,
            log.info,
            champion=champion,
            checkpoints=checkpoints,
            fit=fit,
            scale=scale,
        )
        record_duration("fit_and_evaluate")
        log.info("metrics on the holdout: %s", json.dumps(evaluated.metrics.model.values()))
        log.info("fitting to all interactions, for serving")
        served = fit_served(
            interactions,
            movies,
            config,
            seed,
            evaluated.fit,
            log.info,
            checkpoints=checkpoints,
            fit=fit,
            scale=scale,
        )
        record_duration("fit_served")
        shift, rmse = served_errors(evaluated.predictions, served)
        log.info(
            "served predictions differ from the evaluated ones by %.4f (RMS); their RMSE on the "
            "holdout, which they were fitted to, is %.4f",
            shift,
            rmse,
        )
        folder = Path(work) / "release"
        folder.mkdir()
        write_artifacts(folder, evaluated, served, interactions)
        backend = required_backend(folder / contract.MODEL_FILE)
        record_duration("export")
        log.info("uploading the artifacts")
        artifacts = upload(store, trainer_input, folder)
        record_duration("upload")
    return Manifest(
        release_id=trainer_input.release_id,
        build=trainer_input.build,
        fingerprint=trainer_input.build.fingerprint,
        run_nonce=trainer_input.run_nonce,
        artifacts=artifacts,
        dims=Dims(movie_vectors=contract.MOVIE_VECTOR_DIM, towers=contract.TOWER_DIM),
        serving=Serving(
            method="fold_in" if is_warm(evaluated.fit, config) else "refit",
            interactions=served.interactions,
            shift_rmse=shift,
            rmse=rmse,
            users=len(served.towers.user_ids),
            movies=len(served.towers.movie_ids),
        ),
        metrics=evaluated.metrics,
        requires_backend=backend,
        lineage={
            **provenance(config, seed, interactions, movies, evaluated.fit, seconds, environ),
            "champion": trainer_input.champion,
            "dataset": {"md5": trainer_input.build.dataset_md5, "sha256": dataset_sha256},
            "trainer_digest": trainer_input.build.trainer_digest,
        },
        created_at=datetime.now(UTC),
    )


def _dataset_sha256(md5: str, store: Store) -> str | None:
    """Returns the sha256 of the dataset's zip, recorded when it was fetched, if still stored."""
    stored = store.head(contract.dataset_key(md5, contract.DATASET_FILE))
    return stored.metadata.get("sha256") if stored else None


def _complete_release(store: Store, trainer_input: TrainerInput) -> Manifest | None:
    """Returns the manifest of a complete release; deletes that of an incomplete one."""
    manifest = _find_complete(store, trainer_input)
    if manifest is None:
        # The artifacts are about to be overwritten: the release must not look complete.
        store.delete([trainer_input.inbox_key(contract.MANIFEST_FILE)])
    return manifest


def _find_complete(store: Store, trainer_input: TrainerInput) -> Manifest | None:
    """Returns the manifest in the run's inbox if all its artifacts are there and intact."""
    try:
        key = trainer_input.inbox_key(contract.MANIFEST_FILE)
        manifest = Manifest.from_json(store.get_bytes(key))
        if (
            manifest.fingerprint == trainer_input.build.fingerprint
            and manifest.run_nonce == trainer_input.run_nonce
            and all(
                store.sha256(trainer_input.inbox_key(artifact.name)) == artifact.sha256
                for artifact in manifest.artifacts
            )
        ):
            return manifest
    except (ArtifactError, ValidationError):
        pass
    return None
