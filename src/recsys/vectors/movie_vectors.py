"""Computes movie vectors: similarity of movies by the users who rated them.

The vectors are a truncated SVD of the implicit-feedback matrix users x movies. Three choices raise
its hit rate on ml-latest-small (`recsys.vectors.quality`) to 0.297. Exact nearest neighbors over
all users reach 0.237 on raw stars and 0.275 at best. docs/adr/0004-movie-vectors.md compares other
methods.

- Implicit feedback: only whether a user rated a movie counts, not the stars. A rating weighs more
  if its user or its movie has few ratings. Mean-centered stars are worse than popularity.
- Axes are scaled by the square root of their singular values instead of the values themselves,
  which lowers the weight of the axes that reflect popularity.
- Each genre and each decade is an additional user who rated its movies, so that the vector of a
  movie with one rating does not depend on that user alone. (Shrinking rare movies toward a
  prediction from their genres was tried: they all crowd together, and the hit rate falls to 0.19.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import VectorError
from recsys.object_store import ObjectStore
from recsys.vectors.svd import FeedbackMatrix, Floats, Matrix, WeightedFeedbackMatrix, leading_axes

SEED: Final = 20
_AXIS_EXPONENT: Final = 0.5
_CONTENT_WEIGHT: Final = 10.0
# Hit rate on ml-latest-small, mean of 8 seeds (standard deviation 0.005): 0.294 after 2 rounds,
# 0.297 after 3 and after 4.
_ROUNDS: Final = 3
_DECADES: Final = np.arange(1920, 2030, 10)
# A vector shorter than this share of the longest one is rounding noise.
_NOISE: Final = 1e-6


@dataclass(frozen=True)
class MovieVectors:
    """Similarity vectors: the cosine of two vectors is the similarity of the movies.

    Attributes:
        ids: movieIds, int32 (n,), ascending.
        vectors: float32 (n, dim), each of length 1.
    """

    ids: NDArray[np.int32]
    vectors: NDArray[np.float32]


def compute_movie_vectors(
    interactions: pl.DataFrame, movies: pl.DataFrame, *, dim: int, seed: int = SEED
) -> MovieVectors:
    """Computes a vector for every rated movie.

    The same interactions and movies give the same vectors, in any order of the rows. Memory is
    that of the sparse matrix; no dense matrix of users x movies is made.

    Args:
        interactions: userId, movieId; each pair at most once.
        movies: movieId, year (may be null), genres; a movie without a row has no content.
        dim: dimension; if the matrix has a lower rank, the last components are 0.
        seed: seed of the random start of the SVD.

    Raises:
        VectorError: there are no interactions.
    """
    if interactions.is_empty():
        raise VectorError("there are no interactions to compute movie vectors from")
    feedback = FeedbackMatrix.from_interactions(interactions)
    weighted = weigh(feedback, weighted_content(movies, feedback.ids))
    return vectors_of(weighted, feedback.ids, dim, seed)


def vectors_of(matrix: Matrix, ids: NDArray[np.int32], dim: int, seed: int = SEED) -> MovieVectors:
    """Computes the vectors of a weighted matrix, on any engine.

    Args:
        matrix: weighted feedback and content (`weigh`).
        ids: movieIds of its columns, ascending.
        dim: dimension.
        seed: seed of the random start of the SVD.
    """
    axes, singular = leading_axes(matrix, dim, seed=seed, rounds=_ROUNDS)
    return MovieVectors(ids, unit_rows(axes * singular**_AXIS_EXPONENT, dim))


def make_movie_vectors(
    md5: str, store: ObjectStore, settings: FeatureSettings, work_dir: Path
) -> MovieVectors:
    """Computes the movie vectors of a dataset whose features are in the store.

    Args:
        md5: the dataset's md5.
        store: holds the features.
        settings: settings with the dimension.
        work_dir: an existing folder for the downloaded tables, which are not deleted.

    Raises:
        ArtifactError: there are no features.
        VectorError: the features have no interactions.
    """
    prefix = settings.prefix(md5)
    download_tables(prefix, store, work_dir)
    interactions = work_dir / contract.INTERACTIONS_FILE
    return compute_movie_vectors(
        pl.read_parquet(interactions, columns=["userId", "movieId"]),
        read_movies(work_dir / contract.MOVIES_FILE),
        dim=settings.vector_dim,
    )


def download_tables(prefix: str, store: ObjectStore, work_dir: Path) -> None:
    """Downloads the interactions and movies of features to files of the same names.

    Raises:
        ArtifactError: they are not in the store.
    """
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE):
        store.download(contract.features_key(prefix, name), work_dir / name)


def read_movies(path: Path) -> pl.DataFrame:
    """Reads the columns of movies that `compute_movie_vectors` needs."""
    return pl.read_parquet(path, columns=["movieId", "year", "genres"])


def weigh(feedback: FeedbackMatrix, rows: sp.csr_matrix) -> WeightedFeedbackMatrix:
    """Weights the ratings and appends rows to the matrix.

    A rating by a user who rated n of N movies, of a movie that m of M users rated, has the value
    log((N + 1) / n) * log((M + 1) / m). This is the inverse document frequency of Sparck Jones
    (Journal of Documentation 28, 1972), of users and of movies, smoothed so that none is 0.
    """
    return WeightedFeedbackMatrix(
        feedback,
        rarity(len(feedback.by_movie), feedback.by_user),
        rarity(len(feedback.by_user), feedback.by_movie),
        rows,
    )


def rarity(total: int, counts: NDArray[np.int64]) -> Floats:
    """Returns the smoothed inverse frequency of ``counts`` out of ``total``; see `weigh`."""
    return np.log((total + 1) / counts).astype(np.float32)


def weighted_content(movies: pl.DataFrame, ids: NDArray[np.int32]) -> sp.csr_matrix:
    """Returns `content_rows`, weighted relative to the ratings."""
    return _CONTENT_WEIGHT * content_rows(movies, ids)


def unit_rows(rows: NDArray[np.floating], dim: int) -> NDArray[np.float32]:
    """Scales rows to length 1 and pads them with zeros to (n, dim); no row is 0."""
    scaled = np.zeros((len(rows), dim), np.float32)
    scaled[:, : rows.shape[1]] = rows
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    is_zero = norms[:, 0] <= _NOISE * norms.max()
    # A movie outside of all axes gets the first axis, the direction of the most popular movies.
    scaled[is_zero], norms[is_zero] = 0, 1
    scaled[is_zero, 0] = 1
    scaled /= norms
    return scaled


def content_rows(movies: pl.DataFrame, ids: NDArray[np.int32]) -> sp.csr_matrix:
    """Returns genres and decades as rows of the matrix, shape (genres + decades, movies).

    The genres of a movie have length 1 in total. A year is divided between the two nearest decades.
    """
    known = movies.filter(pl.col("movieId").is_in(ids)).unique("movieId", keep="first")
    known = known.sort("movieId")
    genres = (
        known.select("movieId", pl.col("genres").list.unique(maintain_order=True))
        .explode("genres")
        .drop_nulls("genres")
        .with_columns(value=1 / pl.len().over("movieId").sqrt())
    )
    names, genre = np.unique(genres["genres"].to_numpy(), return_inverse=True)
    dated = known.drop_nulls("year")
    year = np.clip(dated["year"].to_numpy(), _DECADES[0], _DECADES[-1])
    nearness = np.maximum(0, 1 - np.abs(year[:, None] - _DECADES) / 10)
    at, decade = nearness.nonzero()
    rows = np.concatenate([genre, len(names) + decade])
    columns = np.concatenate(
        [
            np.searchsorted(ids, genres["movieId"].to_numpy()),
            np.searchsorted(ids, dated["movieId"].to_numpy())[at],
        ]
    )
    values = np.concatenate([genres["value"].to_numpy(), nearness[at, decade]])
    return sp.csr_matrix(
        (values.astype(np.float32), (rows, columns)), shape=(len(names) + len(_DECADES), len(ids))
    )
