"""`recsys.vectors` on Spark: the same algorithm from the same random start.

Executors hold the pattern of their users; the driver holds matrices of movies x (dimension + 16)
only (50 MB at 87,000 movies), broadcasts one for each round and gets A' A times it back as a tree
of sums. Sums in another order round otherwise: cosines agree closely, not to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys import contract
from recsys.contract import FeatureSettings
from recsys.errors import ArtifactError
from recsys.features import read_stats
from recsys.features.interactions import user_ranges
from recsys.object_store import ObjectStore
from recsys.spark.exchange import add_counts, count_by, pack, scan, unpack
from recsys.vectors import MovieVectors, put_movie_vectors, stored_movie_vectors
from recsys.vectors.movie_vectors import rarity, read_movies, vectors_of, weighted_content
from recsys.vectors.svd import BLOCK_RATINGS, FeedbackMatrix, Floats, WeightedFeedbackMatrix

if TYPE_CHECKING:
    from pyspark import RDD, Broadcast, SparkContext


@dataclass(frozen=True)
class SparkMatrix:
    """`recsys.pattern.WeightedFeedbackMatrix` whose users are with the executors.

    Attributes:
        spark: where the products are made.
        patterns: of disjoint users, all over the same movies.
        users: how many there are in all.
        movie_weight: float32 (movies,).
        rows: further rows, float32 (m, movies).
    """

    spark: SparkContext
    patterns: RDD[FeedbackMatrix]
    users: int
    movie_weight: Floats
    rows: sp.csr_matrix

    @property
    def columns(self) -> int:
        """Movies."""
        return len(self.movie_weight)

    def gram(self, block: Floats) -> Floats:
        """A' A X for X float32 (movies, k)."""
        told = self.spark.broadcast((block, self.movie_weight))
        made: Floats = self.patterns.map(partial(_gram, told=told)).treeReduce(np.add)
        told.destroy()
        made += self.rows.T @ (self.rows @ block)
        return made


def spark_movie_vectors(
    spark: SparkContext, md5: str, store: ObjectStore, settings: FeatureSettings, work_dir: Path
) -> MovieVectors:
    """Makes the movie vectors of a dataset and stores them beside its features.

    Args:
        spark: where the work is done.
        md5: the dataset's md5.
        store: holds ``features/<md5>/``.
        settings: say the dimension.
        work_dir: an existing folder of the driver's for temporary files.

    Raises:
        ArtifactError: there are no features.
    """
    from pyspark import StorageLevel

    stats = read_stats(md5, store)
    if stats is None:
        raise ArtifactError(
            "the features of this dataset are gone",
            expected=contract.features_key(md5, contract.STATS_FILE),
            hint="clear generate_data_frames to make them again",
        )
    if stored := stored_movie_vectors(store, stats, work_dir):
        return stored
    interactions = contract.features_key(md5, contract.INTERACTIONS_FILE)
    movies_path = work_dir / contract.MOVIES_FILE
    store.download(
        contract.features_key(md5, contract.MOVIES_FILE),
        movies_path,
        stats.sha256[contract.MOVIES_FILE],
    )
    # Each core gets two tasks or more, and no task more than a block of the local algorithm's.
    most = min(BLOCK_RATINGS, stats.interactions // (2 * spark.defaultParallelism) + 1)
    ranges = user_ranges(scan(interactions).group_by("userId").len(), most)
    pairs = (
        spark.parallelize(ranges, len(ranges))
        .map(partial(_read_pairs, key=interactions))
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    counts = unpack(pairs.map(_count_movies).treeReduce(add_counts)).sort("movieId")
    ids: NDArray[np.int32] = counts["movieId"].to_numpy()
    told = spark.broadcast(pack(counts.select("movieId")))
    patterns = pairs.map(partial(_pattern, ids=told)).persist(StorageLevel.MEMORY_AND_DISK)
    matrix = SparkMatrix(
        spark,
        patterns,
        stats.users,
        rarity(stats.users, counts["len"].to_numpy().astype(np.int64)),
        weighted_content(read_movies(movies_path), ids),
    )
    made = vectors_of(matrix, ids, settings.vector_dim)
    for held in (pairs, patterns):
        held.unpersist()
    put_movie_vectors(store, stats, made, work_dir)
    return made


def _read_pairs(users: tuple[int, int], key: str) -> bytes:
    rows = scan(key).filter(pl.col("userId").is_between(*users))
    return pack(rows.select("userId", "movieId").collect())


def _count_movies(pairs: bytes) -> bytes:
    return count_by(unpack(pairs), "movieId")


def _pattern(pairs: bytes, ids: Broadcast[bytes]) -> FeedbackMatrix:
    return FeedbackMatrix.from_interactions(unpack(pairs), unpack(ids.value)["movieId"])


def _gram(pattern: FeedbackMatrix, told: Broadcast[tuple[Floats, Floats]]) -> Floats:
    block, movie_weight = told.value
    movies = len(movie_weight)
    no_rows = sp.csr_matrix(np.empty((0, movies), np.float32))
    weighted = WeightedFeedbackMatrix(
        pattern, rarity(movies, pattern.by_user), movie_weight, no_rows
    )
    return weighted.gram(block)
