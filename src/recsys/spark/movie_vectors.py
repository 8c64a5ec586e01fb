"""Movie vectors on Spark: the algorithm of `recsys.vectors` from the same random start.

Executors have the feedback matrix of their users. The driver has only matrices of movies x
(dimension + 16), 50 MB at 87,000 movies. In each round it broadcasts one and collects its product
with A' A by a tree reduction. Sums in another order round differently, so cosines agree closely
with those of one machine, but not exactly.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import ArtifactError
from recsys.features import find_features
from recsys.features.interactions import user_ranges
from recsys.object_store import ObjectStore
from recsys.spark.exchange import add_counts, count_by, pack, scan, unpack
from recsys.vectors import MovieVectors, put_movie_vectors, stored_movie_vectors
from recsys.vectors.kinds import KindWeights, PeriodCounts, with_kinds
from recsys.vectors.movie_vectors import (
    read_movies,
    user_rarity,
    vectors_of,
    weighted_content,
)
from recsys.vectors.svd import BLOCK_RATINGS, FeedbackMatrix, Floats, WeightedFeedbackMatrix

if TYPE_CHECKING:
    from pyspark import RDD, Broadcast, SparkContext


@dataclass(frozen=True)
class SparkMatrix:
    """A `recsys.vectors.svd.WeightedFeedbackMatrix` whose users are distributed over executors.

    Attributes:
        spark: the Spark context.
        feedback: feedback matrices of disjoint users, over the same movies.
        weights: weights of the ratings, from the counts of all users.
        rows: additional rows, float32 (m, movies).
    """

    spark: SparkContext
    feedback: RDD[FeedbackMatrix]
    weights: KindWeights
    rows: sp.csr_matrix

    @property
    def columns(self) -> int:
        """Number of movies."""
        return self.weights.movies

    def gram(self, block: Floats) -> Floats:
        """Returns A' A X for X float32 (movies, k)."""
        factors = self.spark.broadcast((block, self.weights))
        product: Floats = self.feedback.map(partial(_gram, factors=factors)).treeReduce(np.add)
        factors.destroy()
        product += self.rows.T @ (self.rows @ block)
        return product


def spark_movie_vectors(
    spark: SparkContext, md5: str, store: ObjectStore, settings: FeatureSettings, work_dir: Path
) -> MovieVectors:
    """Computes the movie vectors of a dataset and stores them next to its features.

    Args:
        spark: the Spark context.
        md5: the dataset's md5.
        store: holds the features.
        settings: settings with the dimension.
        work_dir: an existing folder on the driver for temporary files.

    Raises:
        ArtifactError: there are no features.
    """
    from pyspark import StorageLevel

    stats = find_features(md5, store, settings)
    if stats is None:
        prefix = settings.prefix(md5)
        raise ArtifactError(
            "the dataset has no features",
            expected=contract.features_key(prefix, contract.STATS_FILE),
            hint="clear the task generate_data_frames to make them again",
        )
    if stored := stored_movie_vectors(store, stats, work_dir):
        return stored
    interactions = contract.features_key(stats.prefix, contract.INTERACTIONS_FILE)
    movies_path = work_dir / contract.MOVIES_FILE
    store.download(
        contract.features_key(stats.prefix, contract.MOVIES_FILE),
        movies_path,
        stats.sha256[contract.MOVIES_FILE],
    )
    # At least two tasks for each core, and no task larger than a block on one machine.
    most = min(BLOCK_RATINGS, stats.interactions // (2 * spark.defaultParallelism) + 1)
    ranges = user_ranges(scan(interactions).group_by("userId").len(), most)
    pairs = (
        spark.parallelize(ranges, len(ranges))
        .map(partial(_read_pairs, key=interactions))
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    counts = unpack(pairs.map(_count_movies).treeReduce(add_counts)).sort("movieId")
    ids: NDArray[np.integer[Any]] = counts["movieId"].to_numpy()
    movie_ids = spark.broadcast(pack(counts.select("movieId")))
    feedback = pairs.map(partial(_feedback, ids=movie_ids)).persist(StorageLevel.MEMORY_AND_DISK)
    by_period: PeriodCounts = feedback.map(FeedbackMatrix.count_periods).treeReduce(operator.add)
    movies = read_movies(movies_path)
    matrix = SparkMatrix(
        spark,
        feedback,
        KindWeights.from_counts(by_period, stats.users),
        weighted_content(movies, ids),
    )
    vectors = vectors_of(matrix, ids, movies, settings.vector_dim)
    for persisted in (pairs, feedback):
        persisted.unpersist()
    put_movie_vectors(store, stats, vectors, work_dir)
    return vectors


def _read_pairs(users: tuple[int, int], key: str) -> bytes:
    rows = scan(key).filter(pl.col("userId").is_between(*users))
    return pack(with_kinds(rows).collect())


def _count_movies(pairs: bytes) -> bytes:
    return count_by(unpack(pairs), "movieId")


def _feedback(pairs: bytes, ids: Broadcast[bytes]) -> FeedbackMatrix:
    return FeedbackMatrix.from_interactions(unpack(pairs).lazy(), unpack(ids.value)["movieId"])


def _gram(feedback: FeedbackMatrix, factors: Broadcast[tuple[Floats, KindWeights]]) -> Floats:
    block, weights = factors.value
    no_rows = sp.csr_matrix(np.empty((0, weights.movies), np.float32))
    return WeightedFeedbackMatrix(feedback, user_rarity(feedback), weights, no_rows).gram(block)
