"""Runs one worker of a distributed training; the chief also writes the release."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from recsys.contract import TrainerInput
from trainer.config import TrainingConfig
from trainer.default_architecture import fit_models
from trainer.distributed.collectives import MultiWorkerGroup, lost_worker_is_transient
from trainer.distributed.resolver import WorkerTask
from trainer.export import Store
from trainer.release import fit_as_worker, make_release
from trainer.termination import Termination

log = logging.getLogger(__name__)

_GRACE_S: Final = 5.0
"""Time from SIGTERM to the forced exit of a blocked worker; less than a pod's grace period."""


def run_worker(
    store: Store,
    trainer_input: TrainerInput,
    config: TrainingConfig,
    seed: int,
    environ: Mapping[str, str],
    termination: Termination,
    task: WorkerTask,
) -> bool:
    """Trains together with the other workers; see `trainer.release.make_release`.

    Args:
        store: where features are read and, by the chief, artifacts are written.
        trainer_input: the build and the run.
        config: hyper-parameters.
        seed: the build's.
        environ: read for the code's revision only.
        termination: handles SIGTERM.
        task: which worker this is.

    Returns:
        Whether this worker made a release.

    Raises:
        TransientError: another worker was lost.
        RecsysError: see `trainer.release.make_release`.
    """
    log.info("worker %d of %d waits for the others", task.index, task.count)
    with lost_worker_is_transient():
        workers = MultiWorkerGroup(task.index, task.count)
        # TensorFlow installs its own signal handler when it joins a cluster.
        termination.reinstall()
        termination.force_exit_after(_GRACE_S)
        fit = partial(fit_models, workers=workers)
        if task.index:
            fit_as_worker(store, trainer_input, config, seed, fit)
            return False
        return make_release(
            store, trainer_input, config, seed, environ, termination.deferred(), fit
        )
