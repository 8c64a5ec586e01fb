"""Writes the artifacts of a release to a folder, and uploads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

import keras
import numpy as np
import polars as pl

from recsys import contract
from recsys.contract import Artifact, GoldenPredictions, GoldenRecommendations, TrainerInput
from recsys.evaluation import TRAIN, Towers, recommend, type_of_ids, user_ranges
from recsys.object_store import StoredObject, file_sha256
from trainer.architecture import Fit, RatingModel
from trainer.data import Ids
from trainer.model_file import save_model
from trainer.rating.folded import predict
from trainer.training import Evaluated

_GOLDEN_PAIRS: Final = 64


class Store(Protocol):
    """The methods of `recsys.object_store.ObjectStore` that the trainer uses."""

    def put_bytes(self, key: str, data: bytes, metadata: dict[str, str] | None = None) -> None:
        """Writes an object atomically."""

    def put_file(self, key: str, path: Path, metadata: dict[str, str] | None = None) -> None:
        """Uploads a file atomically."""

    def get_bytes(self, key: str) -> bytes:
        """Reads an object."""

    def download(self, key: str, path: Path, sha256: str | None = None) -> None:
        """Downloads to ``path``, verifying the sha256 if there is one."""

    def sha256(self, key: str) -> str:
        """Returns the sha256 of an object's content."""

    def head(self, key: str) -> StoredObject | None:
        """Returns the metadata of an object, or None if it does not exist."""

    def delete(self, keys: list[str]) -> None:
        """Deletes objects, ignoring those that do not exist."""


def write_artifacts(
    folder: Path, evaluated: Evaluated, served: Fit, interactions: pl.DataFrame
) -> None:
    """Writes all artifacts except the manifest below ``folder``, under their names.

    Args:
        folder: an empty folder.
        evaluated: the fit to the training part, with its evaluation.
        served: the fit to all interactions, from which the public model and towers are made.
        interactions: userId, movieId, timestamp, split of all interactions.
    """
    for name in ("towers", "evaluated"):
        (folder / name).mkdir()
    evaluated.predictions.cast({"prediction": pl.Float32}).write_parquet(
        folder / contract.HOLDOUT_PREDICTIONS_FILE
    )
    evaluated.recommendations.write_parquet(folder / contract.HOLDOUT_RECOMMENDATIONS_FILE)
    (folder / contract.METRICS_FILE).write_bytes(evaluated.metrics.to_json())
    write_json(
        folder / contract.HISTORY_FILE,
        {
            "evaluated": [asdict(record) for record in evaluated.fit.history],
            "served": [asdict(record) for record in served.history],
        },
    )
    model = served.rating.keras_model()
    save_model(model, folder / contract.MODEL_FILE)
    golden = golden_predictions(model, served.rating)
    (folder / contract.GOLDEN_FILE).write_text(golden.model_dump_json())
    user_towers(served.towers, interactions).write_parquet(folder / contract.USER_TOWERS_FILE)
    movie_towers(served.towers).write_parquet(folder / contract.MOVIE_TOWERS_FILE)
    best = golden_recommendations(served.towers, interactions)
    (folder / contract.GOLDEN_RECOMMENDATIONS_FILE).write_text(best.model_dump_json())
    # If this release becomes champion, later candidates are compared with its evaluated models.
    fit = evaluated.fit
    save_model(fit.rating.keras_model(), folder / contract.EVALUATED_MODEL_FILE)
    user_towers(fit.towers, interactions, pl.col("split") == TRAIN).write_parquet(
        folder / contract.EVALUATED_USER_TOWERS_FILE
    )
    movie_towers(fit.towers).write_parquet(folder / contract.EVALUATED_MOVIE_TOWERS_FILE)


def golden_predictions(model: keras.Model, rating: RatingModel) -> GoldenPredictions:
    """Records predictions for known pairs, an unknown user, an unknown movie, and for both."""
    rng = np.random.default_rng(0)
    users = rng.choice(rating.user_ids, _GOLDEN_PAIRS).astype(np.int64)
    movies = rng.choice(rating.movie_ids, _GOLDEN_PAIRS).astype(np.int64)
    no_user, no_movie = _next_id(rating.user_ids), _next_id(rating.movie_ids)
    users = np.append(users, [no_user, users[0], no_user])
    movies = np.append(movies, [movies[0], no_movie, no_movie])
    return GoldenPredictions(
        user_ids=users.tolist(),
        movie_ids=movies.tolist(),
        stars=predict(model, users, movies).tolist(),
        keras_version=keras.__version__,
    )


def _next_id(ids: Ids) -> int:
    """Returns an id that is not among some, which are sorted."""
    # 0 is nobody's; a number beyond 64 bits would not be an id at all.
    return int(ids[-1]) + 1 if ids[-1] < contract.LARGEST_ID else 0


def golden_recommendations(towers: Towers, interactions: pl.DataFrame) -> GoldenRecommendations:
    """Records the best movies that the towers find for a sample of users, always the same one.

    Args:
        towers: the served ones.
        interactions: userId, movieId: pairs that are never recommended.
    """
    users = np.random.default_rng(0).permutation(towers.user_ids)[: contract.GOLDEN_USERS]
    found = (
        recommend(towers, np.sort(users), interactions)
        .filter(pl.col("rank") <= contract.GOLDEN_DEPTH)
        .group_by("userId", maintain_order=True)
        .agg("movieId")
    )
    return GoldenRecommendations(
        user_ids=found["userId"].to_list(), movie_ids=found["movieId"].to_list()
    )


def user_towers(
    towers: Towers, interactions: pl.DataFrame, rated: pl.Expr | None = None
) -> pl.DataFrame:
    """Returns id, vector and ``seen`` (the user's rated movies, newest first), sorted by id.

    Args:
        towers: of all users with a row.
        interactions: userId, movieId, timestamp.
        rated: the rows that count; None: all.
    """
    # A sort of all rows at once needs two gigabytes with 32 million.
    seen = pl.concat(
        interactions.filter(is_in_range if rated is None else is_in_range & rated)
        .select("userId", "timestamp", "movieId")
        .sort("userId", "timestamp", "movieId", descending=[False, True, False])
        .group_by("userId", maintain_order=True)
        .agg(seen=pl.col("movieId"))
        .rename({"userId": "id"})
        for is_in_range in user_ranges(interactions["userId"], interactions.height)
    )
    return _vectors(towers.user_ids, towers.users).join(
        seen, on="id", how="left", maintain_order="left", validate="1:1"
    )


def movie_towers(towers: Towers) -> pl.DataFrame:
    """Returns id and vector of all movies, sorted by id."""
    return _vectors(towers.movie_ids, towers.movies)


def upload(store: Store, trainer_input: TrainerInput, folder: Path) -> tuple[Artifact, ...]:
    """Uploads all files below ``folder`` to the run's inbox; returns their manifest entries."""
    artifacts = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        store.put_file(trainer_input.inbox_key(name), path)
        # The key that it has when the pipeline has checked and copied it.
        key = contract.release_key(trainer_input.release_id, name)
        artifacts.append(
            Artifact(name=name, key=key, sha256=file_sha256(path), size=path.stat().st_size)
        )
    return tuple(artifacts)


def _vectors(ids: Any, vectors: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": ids, "vector": vectors},
        schema={"id": type_of_ids(ids), "vector": pl.Array(pl.Float32, vectors.shape[1])},
    )


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON; raises ValueError if ``value`` contains NaN or infinity."""
    path.write_text(json.dumps(value, indent=1, allow_nan=False))
