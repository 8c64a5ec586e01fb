"""Both models of this project: ``python -m tests.peers.ours FOLDER [SETTINGS]``.

Runs in the trainer's environment. The fit is the one that a release is evaluated by; the artifacts
are those that it serves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.peers.answers import Histories, Indices, Split, Stars, best_unrated, print_answer


class Ours:
    """The rating model and the towers.

    Args:
        settings: overrides of `trainer.config.TrainingConfig`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        import trainer.default_architecture  # noqa: F401 - TensorFlow's import is not measured
        from trainer.config import training_config

        self._config = training_config(settings)

    def fit(self, split: Split) -> None:
        from trainer.checkpoints import NO_CHECKPOINTS
        from trainer.default_architecture import fit_models

        self._train = pl.read_parquet(split.folder / "train.parquet")
        movies = pl.read_parquet(split.folder / "movies.parquet")
        self._fit = fit_models(
            self._train, movies, self._config, 0, lambda _: None, "evaluated", NO_CHECKPOINTS
        )
        self._histories, self._split = Histories(split), split

    def save(self, path: Path) -> None:
        from trainer.export import movie_towers, user_towers
        from trainer.model_file import save_model

        path.mkdir()
        save_model(self._fit.rating.keras_model(), path / "model.keras")
        rows = self._train.with_columns(split=pl.lit("train"))
        user_towers(self._fit.towers, rows).write_parquet(path / "users.parquet")
        movie_towers(self._fit.towers).write_parquet(path / "movies.parquet")

    def predict(self, split: Split) -> Stars | None:
        return self._fit.rating.predict(split.asked_user, split.asked_movie).astype(np.float64)

    def recommend(self, user: int) -> Indices:
        towers = self._fit.towers
        scores = towers.movies @ towers.users[user]
        rated = self._split.movie_ids[self._histories.of(user)]
        best = best_unrated(scores, np.searchsorted(towers.movie_ids, rated))
        return towers.movie_ids[best].astype(np.int64)


if __name__ == "__main__":
    overrides = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    print_answer(Ours(overrides), Path(sys.argv[1]))
