"""Towers under a sampled softmax, fitted by one process or several; run in each of several."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.trainer.tables import make_interactions
from trainer.config import RankingConfig
from trainer.data import make_ratings
from trainer.distributed.collectives import MultiWorkerGroup, WorkerGroup
from trainer.distributed.resolver import resolve_worker_task
from trainer.ranking.fit import fit_towers
from trainer.ranking.towers import Towers


def sampled_towers(workers: WorkerGroup) -> Towers:
    """Fits towers to the small interactions."""
    tf.config.experimental.enable_op_determinism()
    config = RankingConfig(epochs=2, batch_size=512, full_softmax_movies=100, negatives=64)
    ratings = make_ratings(*make_interactions())
    assert len(ratings.movie_ids) > config.full_softmax_movies
    return fit_towers(ratings, config, np.random.default_rng(5), lambda _: None, workers)


def main() -> None:
    """Saves this worker's towers in a folder, as its index."""
    found = resolve_worker_task(os.environ)
    assert found is not None
    towers = sampled_towers(MultiWorkerGroup(found.index, found.count))
    path = Path(sys.argv[1]) / f"{found.index}.npz"
    np.savez(path, users=towers.users, movies=towers.movies)


if __name__ == "__main__":
    main()
