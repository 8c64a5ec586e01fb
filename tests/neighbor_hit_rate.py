"""The hit rate of movie vectors when each user's last liked movie is hidden."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.vectors import MovieVectors
from recsys.vectors.quality import NEIGHBORS
from recsys.vectors.retrieval import LIKED_STARS, RetrievalTask, by_vectors


def hide_last_liked(interactions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hides the last movie that each user liked, for `neighbor_hit_rate`.

    Users who liked fewer than two movies keep all of them, because nothing would be left to find
    the hidden one by.

    Args:
        interactions: userId, movieId, rating (stars), timestamp.

    Returns:
        The remaining rows, and the hidden ones: one row for each user who liked at least two.
    """
    liked = interactions.filter(pl.col("rating") >= LIKED_STARS).sort(
        "userId", "timestamp", "movieId"
    )
    hidden = liked.filter(
        (pl.int_range(pl.len()).over("userId") == pl.len().over("userId") - 1)
        & (pl.len().over("userId") > 1)
    )
    return interactions.join(hidden, on=["userId", "movieId"], how="anti"), hidden


def neighbor_hit_rate(
    made: MovieVectors, train: pl.DataFrame, hidden: pl.DataFrame, *, k: int = NEIGHBORS
) -> float:
    """Returns the share of hidden movies among the k nearest to what their users liked.

    Args:
        made: vectors made from ``train``.
        train: userId, movieId, rating (stars).
        hidden: userId, movieId: hidden movies that their users liked; at least one row.
        k: number of neighbors.
    """
    ranks = RetrievalTask.from_frames(hidden, train, made.ids).ranks(by_vectors(made))
    return int(np.count_nonzero(ranks <= k)) / hidden.height
