"""Movie vectors: which movies are alike, by who rated them.

A truncated SVD of the sparse user x movie matrix. Three choices take its hit rate on
ml-latest-small (`recsys.vectors.quality`) to 0.297, above that of exact neighbors over all users
(0.237 on raw stars, 0.275 at best); docs/adr/0004-movie-vectors.md compares the others:

- The stars do not count, only that someone chose to rate a movie; a rating counts more when its
  user or its movie has few. Mean-centred stars are worse than popularity.
- Axes are scaled by the square root of their singular values, not by the values themselves: less
  weight for the axes that only say how popular a movie is.
- Each genre and each decade acts as one more user who rated its movies, so that a movie with one
  rating is not placed by that one user alone. (Blending rare movies towards what their genres
  predict was tried instead: they all crowd the middle, and the hit rate falls to 0.19.)
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
# Below this share of the longest vector a direction is rounding noise.
_NOISE: Final = 1e-6


@dataclass(frozen=True)
class MovieVectors:
    """Similarity vectors: the cosine of two says how alike the movies are.

    Attributes:
        ids: movieIds, int32 (n,), ascending.
        vectors: float32 (n, dim), each of length 1.
    """

    ids: NDArray[np.int32]
    vectors: NDArray[np.float32]


def compute_movie_vectors(
    interactions: pl.DataFrame, movies: pl.DataFrame, *, dim: int, seed: int = SEED
) -> MovieVectors:
    """Makes a vector for every movie that has a rating.

    The same interactions and movies give the same vectors, in whatever order their rows come.
    Memory is bounded by the sparse matrix: nothing of the size users x movies is made.

    Args:
        interactions: userId, movieId; every pair at most once.
        movies: movieId, year (may be null), genres; a movie that is missing has no content.
        dim: dimension; where there are fewer users or movies, the last components are 0.
        seed: of the random block that the SVD starts from.

    Raises:
        VectorError: there are no interactions.
    """
    if interactions.is_empty():
        raise VectorError("there are no interactions to make movie vectors of")
    pattern = FeedbackMatrix.from_interactions(interactions)
    return vectors_of(weigh(pattern, weighted_content(movies, pattern.ids)), pattern.ids, dim, seed)


def vectors_of(matrix: Matrix, ids: NDArray[np.int32], dim: int, seed: int = SEED) -> MovieVectors:
    """The vectors of a weighted matrix, wherever its products are made.

    Args:
        matrix: who rated what, weighted, and content (`weigh`).
        ids: movieIds of its columns, ascending.
        dim: dimension.
        seed: of the random block that the SVD starts from.
    """
    axes, singular = leading_axes(matrix, dim, seed=seed, rounds=_ROUNDS)
    return MovieVectors(ids, unit_rows(axes * singular**_AXIS_EXPONENT, dim))


def make_movie_vectors(
    md5: str, store: ObjectStore, settings: FeatureSettings, work_dir: Path
) -> MovieVectors:
    """Makes the movie vectors of a dataset whose features are in the store.

    Args:
        md5: the dataset's md5.
        store: holds ``features/<md5>/``.
        settings: say the dimension.
        work_dir: an existing folder for the downloaded tables, which stay there.

    Raises:
        ArtifactError: the features are not there.
        VectorError: they hold no interactions.
    """
    download_tables(md5, store, work_dir)
    interactions = work_dir / contract.INTERACTIONS_FILE
    return compute_movie_vectors(
        pl.read_parquet(interactions, columns=["userId", "movieId"]),
        read_movies(work_dir / contract.MOVIES_FILE),
        dim=settings.vector_dim,
    )


def download_tables(md5: str, store: ObjectStore, work_dir: Path) -> None:
    """Downloads the interactions and movies of a dataset under their own names.

    Raises:
        ArtifactError: they are not there.
    """
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE):
        store.download(contract.features_key(md5, name), work_dir / name)


def read_movies(path: Path) -> pl.DataFrame:
    """What `compute_movie_vectors` needs of a dataset's movies."""
    return pl.read_parquet(path, columns=["movieId", "year", "genres"])


def weigh(pattern: FeedbackMatrix, rows: sp.csr_matrix) -> WeightedFeedbackMatrix:
    """Gives each rating its weight, and adds further rows to the matrix.

    A rating by a user with n of all N movies, of a movie with m of all M users, has the value
    log((N + 1) / n) * log((M + 1) / m): the inverse document frequency of Sparck Jones (Journal
    of Documentation 28, 1972), on both sides and smoothed so that none is 0.
    """
    return WeightedFeedbackMatrix(
        pattern,
        rarity(len(pattern.by_movie), pattern.by_user),
        rarity(len(pattern.by_user), pattern.by_movie),
        rows,
    )


def rarity(of: int, counts: NDArray[np.int64]) -> Floats:
    """Smoothed inverse frequency of what occurs ``counts`` times among ``of``; see `weigh`."""
    return np.log((of + 1) / counts).astype(np.float32)


def weighted_content(movies: pl.DataFrame, ids: NDArray[np.int32]) -> sp.csr_matrix:
    """`content_rows` with the weight that they have beside the ratings."""
    return _CONTENT_WEIGHT * content_rows(movies, ids)


def unit_rows(rows: NDArray[np.floating], dim: int) -> NDArray[np.float32]:
    """Rows brought to length 1 and filled up with zeros to (n, dim); none is 0."""
    made = np.zeros((len(rows), dim), np.float32)
    made[:, : rows.shape[1]] = rows
    norms = np.linalg.norm(made, axis=1, keepdims=True)
    lost = norms[:, 0] <= _NOISE * norms.max()
    # What no axis holds is like nothing in particular: the direction of the most popular.
    made[lost], norms[lost] = 0, 1
    made[lost, 0] = 1
    made /= norms
    return made


def content_rows(movies: pl.DataFrame, ids: NDArray[np.int32]) -> sp.csr_matrix:
    """Genres and decades as further rows of the matrix, shape (genres + decades, movies).

    The genres of a movie have length 1 together; its year is shared by the two nearest decades.
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
