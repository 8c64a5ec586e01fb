"""Computes movie vectors: similarity of movies by the users who rated them.

The vectors are a truncated SVD of the implicit-feedback matrix users x movies.
docs/adr/0004-movie-vectors.md has the measurements, and compares other methods.

- Implicit feedback: that a user rated a movie counts, more than the stars. Mean-centered stars are
  worse than popularity; a rating below the user's mean weighs less than one above it.
- A rating weighs more if few of the users who were active in the same two years rated the movie
  (`recsys.vectors.kinds`), and if its user has few ratings. With the overall rarity of a movie, the
  neighbors of a movie are what was new when it was.
- Axes are scaled by the square root of their singular values instead of the values themselves,
  which lowers the weight of the axes that reflect popularity.
- Each genre, pair of genres, and decade is an additional user who rated its movies, so that the
  vector of a movie with one rating does not depend on that user alone. (Shrinking rare movies
  toward a prediction from their genres was tried: they all crowd together, and the hit rate falls
  to 0.19.)
- A vector is moved a little toward those of the movies with the same rare words in their titles
  (`recsys.vectors.titles`). As rows of the matrix these words did the same for small datasets, but
  with 1 M ratings they filled most of the axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import VectorError
from recsys.object_store import ObjectStore
from recsys.vectors.kinds import KindWeights, PeriodCounts, with_kinds
from recsys.vectors.svd import FeedbackMatrix, Floats, Matrix, WeightedFeedbackMatrix, leading_axes
from recsys.vectors.titles import title_likeness

SEED: Final = 20
_AXIS_EXPONENT: Final = 0.5
_CONTENT_WEIGHT: Final = 10.0
# Share of a vector's length by which it is moved toward movies with the same words.
_TITLES_WEIGHT: Final = 0.25
_MOST_GENRES: Final = 10
"""Genres of a movie of which pairs are made."""
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
        ids: movieIds (n,), ascending, in the type of the features.
        vectors: float32 (n, dim), each of length 1.
    """

    ids: NDArray[np.integer[Any]]
    vectors: NDArray[np.float32]


def compute_movie_vectors(
    interactions: pl.DataFrame | pl.LazyFrame,
    movies: pl.DataFrame,
    *,
    dim: int,
    seed: int = SEED,
) -> MovieVectors:
    """Computes a vector for every rated movie.

    The same interactions and movies give the same vectors, in any order of the rows. Memory is
    that of the sparse matrix; no dense matrix of users x movies is made.

    Args:
        interactions: userId, movieId; rating and timestamp, if they are known; each pair at most
            once.
        movies: movieId, year (may be null), genres, and title if it is known; a movie without a row
            has no content.
        dim: dimension; if the matrix has a lower rank, the last components are 0.
        seed: seed of the random start of the SVD.

    Raises:
        VectorError: there are no interactions.
    """
    if interactions.lazy().head(1).collect().is_empty():
        raise VectorError("there are no interactions to compute movie vectors from")
    feedback = FeedbackMatrix.from_interactions(with_kinds(interactions.lazy()))
    weighted = weigh(feedback, feedback.count_periods(), weighted_content(movies, feedback.ids))
    return vectors_of(weighted, feedback.ids, movies, dim, seed)


def vectors_of(
    matrix: Matrix, ids: NDArray[np.integer[Any]], movies: pl.DataFrame, dim: int, seed: int = SEED
) -> MovieVectors:
    """Computes the vectors of a weighted matrix, on any engine.

    Args:
        matrix: weighted feedback and content (`weigh`).
        ids: movieIds of its columns, ascending.
        movies: see `compute_movie_vectors`.
        dim: dimension.
        seed: seed of the random start of the SVD.
    """
    axes, singular = leading_axes(matrix, dim, seed=seed, rounds=_ROUNDS)
    vectors = unit_rows(axes * singular**_AXIS_EXPONENT, dim)
    if "title" not in movies.columns:
        return MovieVectors(ids, vectors)
    known = movies.select("movieId", "title").unique("movieId", keep="first")
    titles = pl.DataFrame({"movieId": ids}).join(
        known, on="movieId", how="left", maintain_order="left"
    )
    alike = title_likeness(titles["title"].to_list())
    return MovieVectors(ids, unit_rows(vectors + _TITLES_WEIGHT * (alike @ vectors), dim))


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
        pl.scan_parquet(interactions).select("userId", "movieId", "rating", "timestamp"),
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
    return pl.read_parquet(path, columns=["movieId", "title", "year", "genres"])


def weigh(
    feedback: FeedbackMatrix, counts: PeriodCounts, rows: sp.csr_matrix
) -> WeightedFeedbackMatrix:
    """Weights the ratings and appends rows to the matrix.

    A rating by a user who rated n of N movies has the value log((N + 1) / n), times the weight of
    its kind (`KindWeights`). This is the inverse document frequency of Sparck Jones (Journal of
    Documentation 28, 1972), of users and of movies, smoothed so that none is 0.

    Args:
        feedback: ratings of all users.
        counts: their counts by period.
        rows: additional rows.
    """
    weights = KindWeights.from_counts(counts, len(feedback.by_user))
    return WeightedFeedbackMatrix(feedback, user_rarity(feedback), weights, rows)


def user_rarity(feedback: FeedbackMatrix) -> Floats:
    """Returns the weight of each user; see `weigh`."""
    return np.log((len(feedback.ids) + 1) / feedback.by_user).astype(np.float32)


def weighted_content(movies: pl.DataFrame, ids: NDArray[np.integer[Any]]) -> sp.csr_matrix:
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


def content_rows(movies: pl.DataFrame, ids: NDArray[np.integer[Any]]) -> sp.csr_matrix:
    """Returns genres, pairs of genres, and decades as rows, float32 (rows, movies).

    The genres of a movie have length 1 in total, and so have its pairs. A year is divided between
    the two nearest decades.
    """
    known = movies.filter(pl.col("movieId").is_in(ids)).unique("movieId", keep="first")
    known = known.sort("movieId")
    genres = known.select("movieId", name=pl.col("genres").list.unique(maintain_order=True))
    genres = genres.explode("name").drop_nulls("name")
    few = genres.sort("movieId", "name").group_by("movieId", maintain_order=True).head(_MOST_GENRES)
    pairs = few.join(few, on="movieId", maintain_order="left_right").filter(
        pl.col("name") < pl.col("name_right")
    )
    pairs = pairs.select("movieId", name=pl.concat_str("name", "name_right", separator="|"))
    dated = known.drop_nulls("year")
    year = np.clip(dated["year"].to_numpy(), _DECADES[0], _DECADES[-1])
    nearness = np.maximum(0, 1 - np.abs(year[:, None] - _DECADES) / 10)
    at, decade = nearness.nonzero()
    columns = np.searchsorted(ids, dated["movieId"].to_numpy())[at]
    decades = sp.csr_matrix(
        (nearness[at, decade].astype(np.float32), (decade, columns)),
        shape=(len(_DECADES), len(ids)),
    )
    return sp.csr_matrix(sp.vstack([_named_rows(genres, ids), _named_rows(pairs, ids), decades]))


def _named_rows(names: pl.DataFrame, ids: NDArray[np.integer[Any]]) -> sp.csr_matrix:
    """Returns a row for each distinct name of (movieId, name); no column is longer than 1."""
    found, row = np.unique(names["name"].to_numpy(), return_inverse=True)
    column = np.searchsorted(ids, names["movieId"].to_numpy())
    values = 1 / np.sqrt(np.bincount(column, minlength=len(ids))[column])
    shape = (len(found), len(ids))
    return sp.csr_matrix((values.astype(np.float32), (row, column)), shape=shape)
