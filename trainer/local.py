"""Local training without a server: reads features from a folder, writes artifacts to another."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import polars as pl
from pydantic import BaseModel, ValidationError

from recsys import contract
from recsys.contract import STARS, FeatureSettings, RatingScale
from recsys.errors import ConfigurationError, DatasetError
from trainer.architecture import FitModels
from trainer.config import TrainingConfig
from trainer.export import write_artifacts, write_json
from trainer.provenance import provenance
from trainer.training import fit_and_evaluate, fit_served
from verifier.champion import load_champion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalTraining:
    """Parameters of a local training.

    Attributes:
        features: folder with ``interactions.parquet`` (with the column split), ``movies.parquet``;
            ``stats.json`` if the ratings are not stars.
        out: folder for the artifacts, under their names, and ``lineage.json``.
        config: hyper-parameters.
        seed: seed of all random numbers.
        champion: the ``out`` of an earlier training on ratings of the same scale, evaluated on the
            same holdout.
        refit: whether to refit to all interactions; else the evaluated models are exported.
    """

    features: Path
    out: Path
    config: TrainingConfig
    seed: int
    champion: Path | None
    refit: bool


def train_locally(
    training: LocalTraining, environ: Mapping[str, str], fit: FitModels | None = None
) -> None:
    """Trains, evaluates and writes a release's files; ``out`` is replaced atomically at the end.

    Raises:
        ConfigurationError: ``out`` contains files other than an earlier training's.
        DatasetError: the features are missing or cannot be trained on.
        ArtifactError: the champion does not load.
    """
    started = time.monotonic()
    _check_out(training.out)
    champion = (
        load_champion(training.champion, training.champion.name) if training.champion else None
    )
    interactions, movies = (
        _read(training.features / name)
        for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE)
    )
    log.info("loaded %d interactions and %d movies", len(interactions), len(movies))
    scale = _scale(training.features)
    evaluated = fit_and_evaluate(
        interactions,
        movies,
        training.config,
        training.seed,
        log.info,
        champion=champion,
        fit=fit,
        scale=scale,
    )
    log.info("metrics on the holdout: %s", json.dumps(evaluated.metrics.model.values()))
    served = evaluated.fit
    if training.refit:
        log.info("fitting to all interactions, for serving")
        served = fit_served(
            interactions,
            movies,
            training.config,
            training.seed,
            evaluated.fit,
            log.info,
            fit=fit,
            scale=scale,
        )
    training.out.parent.mkdir(parents=True, exist_ok=True)
    # In the same parent folder, so that it can be renamed to ``out``.
    work = Path(mkdtemp(prefix=f".{training.out.name}-", dir=training.out.parent))
    try:
        write_artifacts(work, evaluated, served, interactions)
        facts = provenance(
            training.config,
            training.seed,
            interactions,
            movies,
            evaluated.fit,
            {"all": round(time.monotonic() - started, 3)},
            environ,
        )
        write_json(work / contract.LINEAGE_FILE, facts)
        work.chmod(0o755)
        if training.out.exists():
            shutil.rmtree(training.out)
        work.rename(training.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("wrote %s", training.out)


def _check_out(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / contract.METRICS_FILE).exists()):
        raise ConfigurationError(
            "the output folder contains other files than an earlier training's",
            found=str(out),
            expected="a folder that is new, empty, or the output of an earlier training",
            hint="choose another --out",
        )


def _scale(features: Path) -> RatingScale:
    """Returns the scale of the ratings in a folder of features: stars, unless its stats say other.

    Raises:
        DatasetError: the statistics cannot be read.
    """
    path = features / contract.STATS_FILE
    try:
        if not path.exists():
            return STARS
        return _Stats.model_validate_json(path.read_bytes()).settings.scale
    except (OSError, ValidationError) as error:
        raise DatasetError(
            f"{path} cannot be read",
            found=str(error),
            expected="the statistics that the pipeline's features step wrote",
            hint="make the features again",
        ) from error


class _Stats(BaseModel):
    """What is read of the statistics of features."""

    settings: FeatureSettings


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DatasetError(
            f"{path} cannot be read",
            found=str(error),
            expected="a parquet file that the pipeline's features step wrote",
        ) from error
