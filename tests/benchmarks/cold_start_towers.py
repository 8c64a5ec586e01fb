"""Trains towers for `bench_cold_start`, with the trainer's interpreter.

``trainer/.venv/bin/python -m tests.benchmarks.cold_start_towers FOLDER`` reads interactions.parquet
and movies.parquet and writes user_towers.npz and movie_towers.npz (ids, vectors). Only the ranking
model is trained: the towers do not depend on the other one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from recsys.contract import TrainerSettings
from trainer.config import TrainingConfig
from trainer.data import make_ratings
from trainer.ranking.fit import fit_towers


def main(folder: Path) -> None:
    """Trains on the interactions in a folder and writes the towers to it."""
    ratings = make_ratings(
        pl.read_parquet(folder / "interactions.parquet"), pl.read_parquet(folder / "movies.parquet")
    )
    rng = np.random.default_rng(TrainerSettings().seed)
    towers = fit_towers(ratings, TrainingConfig().ranking, rng, lambda epoch: print(epoch))
    np.savez(folder / "user_towers.npz", ids=towers.user_ids, vectors=towers.users)
    np.savez(folder / "movie_towers.npz", ids=towers.movie_ids, vectors=towers.movies)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
