"""The commands of ``python -m trainer``: input from the environment, then train, verify or local.

TensorFlow is imported as late as possible, so that invalid settings are refused within a second.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from recsys import contract
from recsys.contract import TrainerInput
from recsys.errors import ConfigurationError
from trainer.config import (
    build_settings,
    environment_overrides,
    gather_overrides,
    training_config,
)
from trainer.distributed.resolver import TF_CONFIG, resolve_worker_task
from trainer.keras_compatibility import check_site_keras
from trainer.termination import Termination

if TYPE_CHECKING:
    from recsys.object_store import ObjectStore
    from trainer.architecture import FitModels

log = logging.getLogger(__name__)

Architecture: TypeAlias = "Callable[[], FitModels]"
"""Imports and returns an architecture; called when TensorFlow may be imported."""


def default_architecture() -> FitModels:
    """Returns the trainer's own architecture; examples/another_model defines another one."""
    from trainer.default_architecture import fit_models

    return fit_models


def verify(store: ObjectStore, trainer_input: TrainerInput, environ: Mapping[str, str]) -> None:
    """Verifies and measures a stored release; see `verifier.commands.verify_candidate`."""
    training_config(build_settings(trainer_input.build.settings).trainer.overrides)
    _refuse_environment_overrides(environ)
    log.info("verify release %s", trainer_input.release_id)
    from verifier.commands import verify_candidate

    verify_candidate(store, trainer_input, environ)


def train(
    store: ObjectStore,
    trainer_input: TrainerInput,
    environ: Mapping[str, str],
    termination: Termination,
    architecture: Architecture,
) -> bool:
    """Trains, alone or as one of several workers; returns whether this process made a release."""
    settings = build_settings(trainer_input.build.settings)
    config = training_config(settings.trainer.overrides)
    _refuse_environment_overrides(environ)
    check_site_keras(environ)
    log.info("train release %s", trainer_input.release_id)
    task = resolve_worker_task(environ)
    if task and architecture is not default_architecture:
        raise ConfigurationError(
            "only the default architecture supports distributed training",
            found=f"{task.count} workers",
            expected="one worker",
            hint="unset RECSYS_TRAINER_WORKERS",
        )
    # Importing TensorFlow takes seconds: report a missing bucket before that.
    store.check()
    seed = settings.trainer.seed
    if task is None:
        from trainer.release import make_release

        return make_release(
            store, trainer_input, config, seed, environ, termination.deferred(), architecture()
        )
    # TensorFlow reads the cluster from the process's environment only.
    os.environ[TF_CONFIG] = task.tf_config
    from trainer.distributed.worker import run_worker

    return run_worker(store, trainer_input, config, seed, environ, termination, task)


def train_local(
    options: argparse.Namespace, environ: Mapping[str, str], architecture: Architecture
) -> None:
    """Trains from a folder to a folder; see `trainer.local.train_locally`."""
    config = training_config(gather_overrides(options.config, environ, options.assignments))
    if options.seed < 0:
        raise ConfigurationError("--seed is negative", found=options.seed, expected="0 or more")
    from trainer.local import LocalTraining, train_locally

    train_locally(
        LocalTraining(
            features=options.features,
            out=options.out,
            config=config,
            seed=options.seed,
            champion=options.champion,
            refit=options.refit,
        ),
        environ,
        architecture(),
    )


def _refuse_environment_overrides(environ: Mapping[str, str]) -> None:
    """Refuses settings that are not part of the build and thus not of its fingerprint."""
    names = environment_overrides(environ)
    if names:
        raise ConfigurationError(
            "the settings of a release must be part of its build",
            found=", ".join(names),
            expected=f"trainer.overrides in {contract.ENV_BUILD}",
            hint="set RECSYS_BUILD_SETTINGS where the pipeline runs instead",
        )
