"""Provenance of a training: library versions, seed, code, hardware, data, settings, durations."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import distributions, version
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from recsys import contract
from recsys.evaluation import HOLDOUT, TRAIN
from trainer.config import TrainingConfig

if TYPE_CHECKING:
    from trainer.architecture import Fit

_CODE_REVISION_ENV: Final = "RECSYS_CODE_REVISION"
_PACKAGES: Final = ("keras", "numpy", "polars")


def provenance(
    config: TrainingConfig,
    seed: int,
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    evaluated: Fit,
    seconds: Mapping[str, float],
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """Returns JSON values for the manifest's ``lineage``, or for ``lineage.json``.

    Args:
        config: hyper-parameters; automatic values are resolved in ``chosen``.
        seed: the build's.
        interactions: userId, split.
        movies: all movies.
        evaluated: the fit to the training part.
        seconds: duration by phase.
        environ: read for the code's revision and the site's Keras.
    """
    import tensorflow as tf

    split = interactions["split"].cast(pl.String)
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "tensorflow": tf.__version__,
        "packages": {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name)},
        "model_readable_by_keras": f">={version('keras')}",
        "site_keras": environ.get(contract.ENV_SITE_KERAS),
        "seed": seed,
        "code_revision": environ.get(_CODE_REVISION_ENV),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "cpus": os.cpu_count(),
            "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        },
        "data": {
            "interactions": len(interactions),
            "train": int((split == TRAIN).sum()),
            "holdout": int((split == HOLDOUT).sum()),
            "later": int((split == "later").sum()),
            "users": interactions["userId"].n_unique(),
            "movies": len(movies),
        },
        "config": config.model_dump(mode="json"),
        "chosen": {
            "rating": evaluated.rating_config.model_dump(mode="json"),
            "rating_epochs": evaluated.rating_epochs,
        },
        "fit_s": {name: round(took, 3) for name, took in evaluated.seconds.items()},
        "seconds": dict(seconds),
    }
