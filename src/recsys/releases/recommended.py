"""Lists of recommended movies: those of the evaluated towers, and how much two lists share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys import contract, vectors
from recsys.contract import Manifest
from recsys.object_store import ObjectStore

Lists = Mapping[int, Sequence[int]]
"""Recommended movies by user, best first."""


@dataclass(frozen=True)
class DatasetSize:
    """What bounds the files of a release.

    Attributes:
        movie_ids: all movies.
        users: number of users with an interaction.
        interactions: number of interactions.
    """

    movie_ids: NDArray[np.int64]
    users: int
    interactions: int


def mean_share(expected: Lists, found: Lists) -> float:
    """Returns which share of a user's expected movies was found, averaged over users.

    As many movies are looked at as were expected. A user without a found list counts as 0.
    """
    shares = [
        len(set(movies) & set(found.get(user, ())[: len(movies)])) / len(movies)
        for user, movies in expected.items()
        if movies
    ]
    return float(np.mean(shares)) if shares else 0.0


def evaluated_lists(
    store: ObjectStore,
    manifest: Manifest,
    users: NDArray[np.int64],
    rated: pl.DataFrame,
    dataset: DatasetSize,
    work: Path,
) -> dict[int, list[int]] | None:
    """Returns what the evaluated towers recommend, among the movies that a user has not rated.

    Args:
        store: where the artifacts are.
        manifest: the release's.
        users: whom to recommend to; those without an evaluated tower are left out.
        rated: userId, movieId of these users, the holdout included.
        dataset: movies of the dataset, as others are not recommended, and bounds on the files.
        work: a folder for temporary files.

    Returns:
        None if the release was made by a trainer that stored no evaluated towers.

    Raises:
        ArtifactError: a file is missing, was changed, or is not one of vectors.
    """
    names = (contract.EVALUATED_USER_TOWERS_FILE, contract.EVALUATED_MOVIE_TOWERS_FILE)
    if not set(names) <= {artifact.name for artifact in manifest.artifacts}:
        return None
    limits = ((dataset.users, dataset.interactions), (len(dataset.movie_ids), None))
    (of_users, user_ids), (of_movies, movies) = (
        _read(store, manifest, name, work, *most) for name, most in zip(names, limits, strict=True)
    )
    kept = np.isin(movies, dataset.movie_ids)
    of_movies, movies = of_movies[kept], movies[kept]
    known = np.isin(user_ids, users)
    scores = of_users[known].astype(np.float32) @ of_movies.astype(np.float32).T
    seen = {user: frame["movieId"].to_numpy() for (user,), frame in rated.group_by("userId")}
    lists = {}
    for user, score in zip(user_ids[known].tolist(), scores, strict=True):
        score[np.isin(movies, seen.get(user, ()))] = -np.inf
        best = np.argsort(-score, kind="stable")[: contract.GOLDEN_DEPTH]
        lists[user] = movies[best[np.isfinite(score[best])]].tolist()
    return lists


def _read(
    store: ObjectStore,
    manifest: Manifest,
    name: str,
    work: Path,
    max_rows: int,
    max_elements: int | None,
) -> tuple[Any, Any]:
    artifact = manifest.artifact(name)
    path = work / Path(name).name
    store.download(artifact.key, path, artifact.sha256)
    ids, matrix, _ = vectors.read_vectors(path, max_rows=max_rows, max_elements=max_elements)
    path.unlink()
    return matrix, ids
