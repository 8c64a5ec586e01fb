"""Where a release comes from: versions, seed, code, hardware, data, settings, durations."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import distributions, version
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from recsys import contract
from recsys.errors import ConfigurationError
from trainer.config import TrainingConfig
from trainer.data import HOLDOUT, TRAIN

if TYPE_CHECKING:
    from trainer.training import Fit

CODE_REVISION_ENV: Final = "RECSYS_CODE_REVISION"
_PACKAGES: Final = ("keras", "numpy", "polars")


def lineage(
    config: TrainingConfig,
    seed: int,
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    evaluated: Fit,
    seconds: Mapping[str, float],
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """The manifest's ``lineage``, plain JSON values.

    Args:
        config: as given; what it left open is in ``chosen``.
        seed: the build's.
        interactions: userId, split.
        movies: all of them.
        evaluated: the fit to the training part.
        seconds: by phase.
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
        "code_revision": environ.get(CODE_REVISION_ENV),
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


def check_site_keras(environ: Mapping[str, str]) -> None:
    """Refuses to make what the site could not load.

    Keras reads what an older Keras saved, not the other way round: 3.12 does not know arguments
    that 3.15 writes down for IntegerLookup. Patch releases are taken to be alike.

    Raises:
        ConfigurationError: the site's Keras is known and older than this one, or is no number.
    """
    site, own = environ.get(contract.ENV_SITE_KERAS), version("keras")
    if not site:
        return
    try:
        older = _release(site) < _release(own)
    except ValueError as error:
        raise ConfigurationError(
            f"{contract.ENV_SITE_KERAS} is no release of Keras", found=site, expected="e.g. 3.15.0"
        ) from error
    if older:
        raise ConfigurationError(
            "the site's Keras is older than the trainer's and may not load the model",
            found=f"Keras {site} at the site, {own} here",
            expected="the trainer's to be the same or older",
            hint=f"update the site first, or lock keras=={site} in trainer/pyproject.toml",
        )


def _release(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
