"""Measures a candidate: its evaluated models on the holdout, and its served model.

The truth is the build's features, never a file of the candidate. The champion is measured on the
same holdout, by the same code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import polars as pl

from recsys import contract
from recsys.contract import (
    Manifest,
    MeasuredMetrics,
    RatingScale,
    ServedScores,
    TrainerInput,
)
from recsys.errors import ArtifactError, RecsysError
from recsys.evaluation import (
    HOLDOUT,
    TRAIN,
    Evaluation,
    Towers,
    check_parquet,
    evaluate_models,
    id_type,
    join_in_ranges,
    part,
    rating_error,
    with_id_type,
)
from verifier.candidate import Candidate, Reader, fetch
from verifier.champion import fetch_champion, read_towers
from verifier.features import read_features
from verifier.models import load_model, predict_stars

log = logging.getLogger(__name__)

_CODE_REVISION: Final = "RECSYS_CODE_REVISION"
_PAIR: Final = ["userId", "movieId"]
_MOST_RECOMMENDED: Final = 1000
"""Rows for each user of the recommendations that a trainer stores; ours stores a tenth."""


def measure(
    store: Reader,
    trainer_input: TrainerInput,
    candidate: Candidate,
    served: Any,
    folder: Path,
    environ: Mapping[str, str],
) -> MeasuredMetrics:
    """Measures the evaluated and the served model of a candidate on the holdout of its build.

    Args:
        store: where features and releases are read.
        trainer_input: names the build and the champion.
        candidate: the checked manifest.
        served: the served model, loaded.
        folder: an empty folder for downloads.
        environ: read for the code's revision only.

    Raises:
        ArtifactError: an evaluated file is missing, does not load, or contradicts the dataset.
        EvaluationError: the answers cannot be evaluated.
        DatasetError: the features are missing.
    """
    folder.mkdir(exist_ok=True)
    interactions, movies = read_features(trainer_input.build, store, folder)
    manifest, scale = candidate.manifest, trainer_input.build.features.scale
    for artifact in manifest.evaluated_artifacts():
        fetch(store, manifest, artifact.name, folder)
    check_tables(store, manifest, interactions, movies, folder)
    model = load_model(folder / contract.EVALUATED_MODEL_FILE, contract.EVALUATED_MODEL_FILE)
    towers = _evaluated_towers(folder, interactions, movies)
    champion = (
        fetch_champion(store, trainer_input.champion, folder / "champion", scale)
        if trainer_input.champion
        else None
    )
    found = evaluate_models(
        interactions, movies, partial(predict_stars, model, scale=scale), towers, champion, scale
    )
    return MeasuredMetrics(
        release_id=manifest.release_id,
        manifest_sha256=candidate.manifest_sha256,
        champion=champion.release_id if champion else None,
        interactions=interactions.height,
        metrics=found.metrics,
        served=_served_scores(served, found, scale),
        keras_version=keras.__version__,
        code_revision=environ.get(_CODE_REVISION, "")[:80],
        measured_at=datetime.now(UTC),
    )


def _served_scores(served: Any, evaluated: Evaluation, scale: RatingScale) -> ServedScores:
    pairs = evaluated.predictions
    stars = predict_stars(served, pairs["userId"].to_numpy(), pairs["movieId"].to_numpy(), scale)
    errors = rating_error(pairs["rating"].to_numpy().astype(np.float64), stars.astype(np.float64))
    moved = stars.astype(np.float64) - pairs["prediction"].to_numpy().astype(np.float64)
    return ServedScores(
        rmse=errors["rmse"], mae=errors["mae"], shift_rmse=float(np.sqrt(np.mean(moved**2)))
    )


def check_tables(
    store: Reader,
    manifest: Manifest,
    interactions: pl.DataFrame,
    movies: pl.DataFrame,
    folder: Path,
) -> None:
    """Checks rows and types of every parquet file that is read of a release, before it is read.

    The process that checks has a memory limit of its own; the pipeline reads the files after it.

    Args:
        store: where the files are; evaluated ones are in the folder already.
        manifest: the candidate's.
        interactions: of the dataset, with the column split.
        movies: of the dataset.
        folder: where files are downloaded to.

    Raises:
        ArtifactError: a file is missing or changed, or out of bounds.
    """
    train, holdout = part(interactions, TRAIN), part(interactions, HOLDOUT)
    vector = {"vector": contract.TOWER_DIM}
    for name, rows in (
        (contract.EVALUATED_USER_TOWERS_FILE, train),
        (contract.USER_TOWERS_FILE, interactions),
    ):
        check_parquet(
            _fetched(store, manifest, name, folder),
            max_rows=rows["userId"].n_unique(),
            arrays=vector,
            lists={"seen": rows.height},
            rows="vectors",
        )
    for name in (contract.EVALUATED_MOVIE_TOWERS_FILE, contract.MOVIE_TOWERS_FILE):
        path = _fetched(store, manifest, name, folder)
        check_parquet(path, max_rows=movies.height, arrays=vector, rows="vectors")
    most = {
        contract.HOLDOUT_PREDICTIONS_FILE: holdout.height,
        contract.HOLDOUT_RECOMMENDATIONS_FILE: holdout["userId"].n_unique() * _MOST_RECOMMENDED,
    }
    stored = {artifact.name for artifact in manifest.artifacts}
    for name, rows_of in most.items():
        if name in stored:
            path = _fetched(store, manifest, name, folder)
            check_parquet(path, max_rows=rows_of, of="the holdout")


def _fetched(store: Reader, manifest: Manifest, name: str, folder: Path) -> Path:
    path = folder / name
    return path if path.exists() else fetch(store, manifest, name, folder)


def _evaluated_towers(folder: Path, interactions: pl.DataFrame, movies: pl.DataFrame) -> Towers:
    """Reads the evaluated towers; their ids and histories must be those of the training part."""
    train = part(interactions, TRAIN)
    try:
        users = pl.read_parquet(folder / contract.EVALUATED_USER_TOWERS_FILE)
        towers = read_towers(users, pl.read_parquet(folder / contract.EVALUATED_MOVIE_TOWERS_FILE))
        seen = users.select(userId="id", movieId="seen").explode("movieId").drop_nulls("movieId")
        seen = with_id_type(seen, id_type(train))
    except RecsysError:
        raise
    # Errors of polars and numpy about damaged files have no common base class.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise ArtifactError(
            "the evaluated towers do not load", found=f"{type(error).__name__}: {error}"
        ) from error
    for what, ids, expected in (
        ("users", towers.user_ids, train["userId"]),
        ("movies", towers.movie_ids, movies["movieId"]),
    ):
        if not np.array_equal(ids, expected.unique().sort().to_numpy()):
            raise ArtifactError(
                f"the evaluated towers are not those of the dataset's {what}",
                found=f"{len(ids)} ids",
                expected=f"each of the {expected.n_unique()} ids once",
                hint="the trainer must write one vector for each of them",
            )
    for name, vectors in (("user", towers.users), ("movie", towers.movies)):
        if vectors.shape[1:] != (contract.TOWER_DIM,):
            raise ArtifactError(
                f"the evaluated {name} towers have another dimension",
                found=vectors.shape,
                expected=f"{contract.TOWER_DIM} numbers each",
            )
    # A later candidate is compared on the pairs that this one says it has not seen.
    pairs = train.select(_PAIR)
    if seen.height != pairs.height or join_in_ranges(seen, pairs, "anti").height:
        raise ArtifactError(
            "the histories of the evaluated user towers are not the training part",
            found=f"{seen.height} pairs",
            expected=f"the {pairs.height} pairs of the training part",
        )
    return towers
