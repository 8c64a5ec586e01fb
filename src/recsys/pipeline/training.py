"""Training, and what becomes of it: a verified model and towers in tables of their own.

The trainer runs elsewhere: in a pod, a container or a process. What it is told is made here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recsys import contract, ledger, releases, vectors
from recsys.contract import TrainerInput
from recsys.errors import ArtifactError
from recsys.pipeline.run import Run
from recsys.pipeline.tables import load_table
from recsys.scratch import scratch_folder
from recsys.services import Services
from recsys.trainer_process import LocalTrainer

log = logging.getLogger(__name__)

_TOWERS: Final = tuple(t for t in contract.PUBLIC_TABLES if t.artifact is not None)


def train_dl_model(
    services: Services,
    run: Run,
    trainer: LocalTrainer,
    on_line: Callable[[str], None] = log.info,
) -> bool:
    """Trains in a process of its own; returns False if the release was trained already.

    Raises:
        TrainingError: the trainer failed for good.
        TransientError: it was killed, or could not reach S3.
    """
    given = begin_training(services, run)
    if given is None:
        return False
    trainer.run("train", given, secrets(services), on_line)
    return True


def begin_training(services: Services, run: Run) -> TrainerInput | None:
    """What the trainer is to be told; None if the release was trained already.

    Whatever an earlier run's trainer writes from now on is not accepted any more.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
        if _is_trained(services, release):
            return None
        ledger.set_nonce(conn, run.release_id, run.run_nonce)
    return trainer_input(services, run, run.run_nonce)


def _is_trained(services: Services, release: ledger.Release) -> bool:
    try:
        manifest, _ = releases.read_manifest(services.store, release.release_id)
        releases.check_manifest(manifest, release)
    except ArtifactError:
        # A complete release is never trained again: its broken manifest is verify's to report.
        return release.completed_at is not None
    return True


def verify_candidate(
    services: Services,
    run: Run,
    trainer: LocalTrainer,
    on_line: Callable[[str], None] = log.info,
) -> None:
    """Accepts only a release of this build and run whose files are whole and whose model loads.

    The model is loaded in a fresh process with stock Keras and must reproduce its golden
    predictions.

    Raises:
        ArtifactError: the manifest or an artifact is missing or is not what it should be.
        TrainingError: the model does not load or answers otherwise than recorded.
    """
    trainer.run("verify", check_candidate(services, run), secrets(services), on_line)


def check_candidate(services: Services, run: Run) -> TrainerInput:
    """Checks manifest and files; returns what the process is to be told that loads the model.

    Raises:
        ArtifactError: the manifest or an artifact is missing or is not what it should be.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
    manifest, _ = releases.read_manifest(services.store, run.release_id)
    releases.check_manifest(manifest, release)
    releases.check_artifacts(services.store, manifest)
    return trainer_input(services, run, release.run_nonce)


def load_towers(services: Services, run: Run) -> dict[str, dict[str, Any]]:
    """Loads the trainer's user and movie towers into the release's own tables, and checks them.

    Returns:
        Facts of each table: rows, digest.
    """
    with services.connect() as conn:
        release = ledger.get(conn, run.release_id)
    if release.completed_at:
        return {t.name: dict(release.tables[t.name]) for t in _TOWERS}
    manifest, _ = releases.read_manifest(services.store, run.release_id)
    loaded = {}
    for table in _TOWERS:
        artifact = manifest.artifact(table.artifact or "")
        with scratch_folder("towers") as work:
            path = work / Path(artifact.name).name
            services.store.download(artifact.key, path, artifact.sha256)
            ids, towers, extra = vectors.read_vectors(path)
        loaded[table.name] = load_table(services, run, table, ids, towers, extra)
    with services.connect() as conn:
        for table in _TOWERS:
            vectors.check_vectors(
                conn, table, run.release_id, expected_rows=loaded[table.name]["rows"]
            )
    return loaded


def trainer_input(services: Services, run: Run, nonce: str) -> TrainerInput:
    """What the trainer is told, wherever it runs."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
    # A forced run may train the champion's own build, which has nothing to be compared with.
    other = champion is not None and champion.release_id != run.release_id
    return TrainerInput(
        champion=champion.release_id if champion and other else None,
        build=run.build,
        run_nonce=nonce,
        s3_bucket=services.s3.bucket,
        s3_endpoint=services.s3.endpoint,
        s3_region=services.s3.region,
    )


def secrets(services: Services) -> dict[str, str]:
    """The values of `contract.SECRET_ENV` that are set."""
    values = (services.s3.access_key, services.s3.secret_key)
    return {
        name: value.get_secret_value()
        for name, value in zip(contract.SECRET_ENV, values, strict=True)
        if value is not None
    }
