"""What each recommender of the comparison does, in a process of its own, and what is measured.

Runs in three environments (the peers', the trainer's, the pipeline's), so it imports only numpy,
polars and the standard library.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

DEPTH: Final = 20
"""Number of movies that each recommendation lists."""
TIMED_USERS: Final = 200
"""Users whose recommendation is asked for alone, to measure its time."""
Indices = NDArray[np.int64]
Stars = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """A dataset in two parts, with users and movies as indices into the sorted ids of training.

    Attributes:
        user_ids: ids of the users of the training part, shape (users,).
        movie_ids: ids of the movies of the training part, shape (movies,).
        user, movie, stars: ratings of the training part, shape (n,).
        asked_user, asked_movie: ids of the holdout's pairs, known or unknown, shape (m,).
        ranked: indices of the users who get recommendations, shape (r,).
        folder: where the tables are.
    """

    user_ids: Indices
    movie_ids: Indices
    user: Indices
    movie: Indices
    stars: Stars
    asked_user: Indices
    asked_movie: Indices
    ranked: Indices
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> Split:
        """Reads what `write_split` of `tests.benchmarks.bench_models` wrote, and ``ranked.npy``."""
        train = pl.read_parquet(folder / "train.parquet")
        holdout = pl.read_parquet(folder / "holdout.parquet")
        users, user = np.unique(train["userId"].to_numpy(), return_inverse=True)
        movies, movie = np.unique(train["movieId"].to_numpy(), return_inverse=True)
        return cls(
            user_ids=users.astype(np.int64),
            movie_ids=movies.astype(np.int64),
            user=user.astype(np.int64),
            movie=movie.astype(np.int64),
            stars=train["rating"].to_numpy().astype(np.float64),
            asked_user=holdout["userId"].to_numpy().astype(np.int64),
            asked_movie=holdout["movieId"].to_numpy().astype(np.int64),
            ranked=np.searchsorted(users, np.load(folder / "ranked.npy")).astype(np.int64),
            folder=folder,
        )


class Recommender(Protocol):
    """One recommender; its constructor imports libraries, which is not measured."""

    def fit(self, split: Split) -> None:
        """Fits to the training part."""

    def save(self, path: Path) -> None:
        """Writes what serving needs."""

    def predict(self, split: Split) -> Stars | None:
        """Predicts the stars of all pairs of the holdout; None if it predicts no stars."""

    def recommend(self, user: int) -> Indices:
        """Returns the ids of at most `DEPTH` movies that a user has not rated, best first."""


def answer(recommender: Recommender, folder: Path) -> dict[str, Any]:
    """Fits a recommender, writes its answers below ``folder``, and returns the measurements."""
    split = Split.read(folder)
    wall, cpu = time.perf_counter(), _cpu_s()
    recommender.fit(split)
    wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
    peak_mb = _peak_mb()
    artifact = folder / "artifact"
    recommender.save(artifact)
    files = [artifact] if artifact.is_file() else artifact.rglob("*")
    size = sum(file.stat().st_size for file in files if file.is_file())
    stars = recommender.predict(split)
    if stars is not None:
        np.save(folder / "stars.npy", stars)
    lists = np.full((len(split.ranked), DEPTH), -1, np.int64)
    seconds = []
    for row, user in enumerate(split.ranked.tolist()):
        began = time.perf_counter()
        movies = recommender.recommend(user)
        if row < TIMED_USERS:
            seconds.append(time.perf_counter() - began)
        lists[row, : len(movies)] = movies
    np.save(folder / "lists.npy", lists)
    return {
        "fit_wall_s": wall,
        "fit_cpu_s": cpu,
        "peak_mb": peak_mb,
        "artifact_mb": size / 1e6,
        "recommendation_ms": float(np.median(seconds)) * 1e3,
    }


def print_answer(recommender: Recommender, folder: Path) -> None:
    """Prints the measurements as the last line of standard output."""
    print(json.dumps(answer(recommender, folder)))


def best_unrated(scores: NDArray[np.floating], rated: Indices) -> Indices:
    """Returns the indices of the best movies without the rated ones, best first.

    Args:
        scores: of all movies; changed by this call.
        rated: indices of movies.
    """
    scores[rated] = -np.inf
    best: Indices = np.argpartition(-scores, min(DEPTH, len(scores) - 1))[:DEPTH]
    best = best[np.argsort(-scores[best], kind="stable")]
    found: Indices = best[np.isfinite(scores[best])]
    return found


class Histories:
    """Movies of each user in the training part.

    Args:
        split: the split.
    """

    def __init__(self, split: Split) -> None:
        order = np.argsort(split.user, kind="stable")
        self._movie = split.movie[order]
        self._start = np.searchsorted(split.user[order], np.arange(len(split.user_ids) + 1))

    def of(self, user: int) -> Indices:
        """Returns the indices of the movies that a user rated."""
        movies: Indices = self._movie[self._start[user] : self._start[user + 1]]
        return movies


def _cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _peak_mb() -> float:
    # Not `getrusage`: its peak includes that of the process which started this one.
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6
