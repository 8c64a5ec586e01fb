"""The steps of the training branch: train, verify the candidate, load its towers into tables.

The trainer runs in a pod, a container or a process; its input is made here for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recsys import contract, features, ledger, releases, vectors
from recsys.contract import TrainerInput
from recsys.object_store import current_keys
from recsys.pipeline.run import Run, continue_build
from recsys.pipeline.tables import load_table
from recsys.scratch import scratch_folder
from recsys.services import Services
from recsys.trainer_process import LocalTrainer, log_line

log = logging.getLogger(__name__)

_TOWERS: Final = tuple(t for t in contract.PUBLIC_TABLES if t.artifact is not None)


def train_dl_model(
    services: Services,
    run: Run,
    trainer: LocalTrainer,
    on_line: Callable[[str], None] = log_line,
) -> bool:
    """Trains in a local process; returns False if the release was already trained.

    Raises:
        TrainingError: the trainer failed permanently.
        TransientError: the trainer was killed, or could not reach S3.
    """
    trainer_input = begin_training(services, run)
    if trainer_input is None:
        return False
    trainer.run("train", trainer_input, secrets(services), on_line)
    return True


def begin_training(services: Services, run: Run) -> TrainerInput | None:
    """Returns the trainer's input, or None if the release was already trained.

    Records the run's nonce: from now on, a manifest of an earlier run's trainer is not accepted.
    """
    release = continue_build(services, run)
    if releases.is_trained(services.store, release):
        return None
    with services.connect() as conn:
        ledger.set_nonce(conn, run.release_id, run.run_nonce)
    return make_trainer_input(services, run, run.run_nonce)


def verify_candidate(
    services: Services,
    run: Run,
    trainer: LocalTrainer,
    on_line: Callable[[str], None] = log_line,
) -> None:
    """Verifies that the release is of this build and run, its files are intact and its model loads.

    The candidate is moved from the run's inbox to its release, where no trainer can write. Then the
    model is loaded in a fresh process with stock Keras and must reproduce its golden predictions.
    That process also measures what the gate will judge.

    Raises:
        ArtifactError: the manifest or an artifact is missing or invalid.
        TrainingError: the model does not load or does not reproduce its golden predictions.
    """
    trainer.verify(check_candidate(services, run), secrets(services), on_line)


def check_candidate(services: Services, run: Run) -> TrainerInput:
    """Checks a candidate's files and moves them from the run's inbox to its release.

    Returns:
        The input of the verifier.

    Raises:
        ArtifactError: the manifest or an artifact is missing or invalid.
        LedgerError: the release was abandoned or retired.
        LockedError: another try of this task is copying the candidate.
    """
    release = releases.admit_candidate(services, run.release_id)
    key = releases.expect_measurement(services.store, run.release_id)
    made = make_trainer_input(services, run, release.run_nonce)
    return made.model_copy(update={"seal": key})


def load_towers(services: Services, run: Run) -> dict[str, dict[str, Any]]:
    """Loads the trainer's user and movie towers into the release's own tables, and checks them.

    Returns:
        By table: number of rows, digest.
    """
    release = continue_build(services, run)
    if release.completed_at:
        return {t.name: dict(release.tables[t.name]) for t in _TOWERS}
    manifest, _ = releases.read_manifest(services.store, run.release_id)
    stats = features.read_stats(run.build.features_prefix, services.store)
    most = {"userid": stats.users, "movieid": stats.movies} if stats else {}
    elements = stats.interactions if stats else None
    loaded = {}
    for table in _TOWERS:
        artifact = manifest.artifact(table.artifact or "")
        with scratch_folder("towers") as work:
            path = work / Path(artifact.name).name
            services.store.download(artifact.key, path, artifact.sha256)
            ids, towers, extra = vectors.read_vectors(
                path, max_rows=most.get(table.id_column), max_elements=elements
            )
        loaded[table.name] = load_table(services, run, table, ids, towers, extra)
    with services.connect() as conn:
        for table in _TOWERS:
            vectors.check_vectors(
                conn, table, run.release_id, expected_rows=loaded[table.name]["rows"]
            )
    return loaded


def make_trainer_input(services: Services, run: Run, nonce: str) -> TrainerInput:
    """Returns the trainer's input, which is the same in every runtime."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
    # A forced run may train the champion's own build: there is no other release to compare with.
    is_other = champion is not None and champion.release_id != run.release_id
    return TrainerInput(
        champion=champion.release_id if champion and is_other else None,
        build=run.build,
        run_nonce=nonce,
        s3_bucket=services.s3.bucket,
        s3_endpoint=services.s3.endpoint,
        s3_region=services.s3.region,
        s3_prefix=services.s3.prefix,
        **services.s3.public_options(),
    )


def secrets(services: Services) -> dict[str, str]:
    """Returns the S3 credentials for a process on this machine: of `contract.SECRET_ENV`, some.

    None of them if S3 is used with the identity of this machine, which the process has, too.
    """
    s3 = services.s3
    # What another library obtains, such as a role by SAML, no other process can renew.
    return current_keys(s3) if s3.session_factory and not s3.role_arn else s3.credentials()


def container_secrets(services: Services) -> dict[str, str]:
    """Returns the S3 credentials for a container, which lacks the files and identity of here.

    In place of a profile or an identity, it gets the keys of the moment, which expire.
    """
    s3 = services.s3
    if s3.access_key is None:
        return current_keys(s3)
    return secrets(Services(services.postgres, s3.model_copy(update={"profile": None})))
