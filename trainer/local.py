"""A training without a store or a server: features in a folder, a release's files in another."""

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

from recsys import contract
from recsys.errors import ConfigurationError, DatasetError
from trainer.champion import load_champion
from trainer.config import TrainingConfig
from trainer.export import write_artifacts, write_json
from trainer.lineage import lineage
from trainer.training import FitModels, fit_and_evaluate, refit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalTraining:
    """What `train_locally` is to do.

    Attributes:
        features: holds ``interactions.parquet`` (with the column split) and ``movies.parquet``.
        out: gets the artifacts under their names, and ``lineage.json``.
        config: how to train.
        seed: of everything random.
        champion: the ``out`` of an earlier training, measured on the same holdout.
        refit: whether to fit again to all interactions; else what was evaluated is exported.
    """

    features: Path
    out: Path
    config: TrainingConfig
    seed: int
    champion: Path | None
    refit: bool


def train_locally(
    given: LocalTraining, environ: Mapping[str, str], fit: FitModels | None = None
) -> None:
    """Trains, evaluates and writes a release's files; ``out`` holds all of them or is untouched.

    Raises:
        ConfigurationError: ``out`` holds something else.
        DatasetError: the features are missing or cannot be trained on.
        ArtifactError: the champion does not load.
    """
    started = time.monotonic()
    _check_out(given.out)
    champion = load_champion(given.champion, given.champion.name) if given.champion else None
    interactions, movies = (
        _read(given.features / name) for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE)
    )
    log.info("loaded %d interactions and %d movies", len(interactions), len(movies))
    evaluated = fit_and_evaluate(
        interactions, movies, given.config, given.seed, log.info, champion=champion, fit=fit
    )
    log.info("metrics on the holdout: %s", json.dumps(evaluated.metrics["model"]))
    served = evaluated.fit
    if given.refit:
        log.info("fitting to all interactions, to be served")
        served = refit(
            interactions, movies, given.config, given.seed, evaluated.fit, log.info, fit=fit
        )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it gets there by a rename.
    work = Path(mkdtemp(prefix=f".{given.out.name}-", dir=given.out.parent))
    try:
        write_artifacts(work, evaluated, served, interactions)
        facts = lineage(
            given.config,
            given.seed,
            interactions,
            movies,
            evaluated.fit,
            {"all": round(time.monotonic() - started, 3)},
            environ,
        )
        write_json(work / contract.LINEAGE_FILE, facts)
        work.chmod(0o755)
        if given.out.exists():
            shutil.rmtree(given.out)
        work.rename(given.out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("wrote %s", given.out)


def _check_out(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / contract.METRICS_FILE).exists()):
        raise ConfigurationError(
            "the output would replace something that is no earlier training",
            found=str(out),
            expected="a folder that is empty, new, or of an earlier training",
        )


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DatasetError(
            f"{path} cannot be read",
            found=str(error),
            expected="a parquet file as the pipeline makes it",
        ) from error
