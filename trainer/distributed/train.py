"""A training by several workers: one of them, the chief, writes the release."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from recsys.contract import TrainerInput
from trainer.config import TrainingConfig
from trainer.distributed.cluster import Place
from trainer.distributed.workers import Cluster, losses_are_transient
from trainer.export import Store
from trainer.release import make_release, take_part
from trainer.termination import Termination
from trainer.training import fit_models

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 5.0
"""Between SIGTERM and the end of a worker that waits for another; less than a pod's grace."""


def train_together(
    store: Store,
    given: TrainerInput,
    config: TrainingConfig,
    seed: int,
    environ: Mapping[str, str],
    termination: Termination,
    here: Place,
) -> bool:
    """Trains with the other workers; see `trainer.release.make_release`.

    Args:
        store: where features are read and, by the chief, artifacts are written.
        given: which release, for which run.
        config: how to train.
        seed: the build's.
        environ: read for the code's revision only.
        termination: tells of SIGTERM.
        here: which worker this is.

    Returns:
        Whether this worker made a release.

    Raises:
        TransientError: another worker was lost.
        RecsysError: see `trainer.release.make_release`.
    """
    log.info("worker %d of %d waits for the others", here.index, here.count)
    with losses_are_transient():
        workers = Cluster(here.index, here.count)
        # TensorFlow takes the signal for itself when it joins a cluster.
        termination.renew()
        termination.insist(_PATIENCE_S)
        fit = partial(fit_models, workers=workers)
        if here.index:
            take_part(store, given, config, seed, fit)
            return False
        return make_release(store, given, config, seed, environ, termination.deferred(), fit)
