"""Where a release comes from: versions, seed, code, hardware, data, settings, durations."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import polars as pl

from trainer.config import TrainingConfig
from trainer.data import HOLDOUT, TRAIN

CODE_REVISION_ENV: Final = "RECSYS_CODE_REVISION"
_PACKAGES: Final = ("keras", "numpy", "polars")


def lineage(
    config: TrainingConfig,
    seed: int,
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    seconds: Mapping[str, float],
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """The manifest's ``lineage``, plain JSON values.

    ``model_readable_by_keras`` is the oldest Keras that is sure to load the model: an older one
    may not know what a newer one saves.
    """
    import tensorflow as tf

    split = interactions["split"].cast(pl.String)
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "tensorflow": tf.__version__,
        "model_readable_by_keras": f">={version('keras')}",
        "seed": seed,
        "code_revision": environ.get(CODE_REVISION_ENV),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "cpus": os.cpu_count(),
        },
        "data": {
            "interactions": len(interactions),
            "train": int((split == TRAIN).sum()),
            "holdout": int((split == HOLDOUT).sum()),
            "users": interactions["userId"].n_unique(),
            "movies": len(movies),
        },
        "config": config.model_dump(mode="json"),
        "seconds": dict(seconds),
    }
