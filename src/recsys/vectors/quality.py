"""Quality of movie vectors: do they retrieve movies that users liked later, and known relatives?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys import contract
from recsys.contract import STARS, RatingScale
from recsys.evaluation import place_of
from recsys.vectors.families import (
    FRANCHISE_NEIGHBORS,
    SERIES_NEIGHBORS,
    FamilyRecall,
    find_franchises,
    find_series,
    measure_family,
)
from recsys.vectors.movie_vectors import MovieVectors, compute_movie_vectors, read_movies
from recsys.vectors.retrieval import (
    LIKED_STARS,
    RetrievalTask,
    by_popularity,
    by_raw_cosine,
    by_vectors,
    raw_stars,
)

NEIGHBORS: Final = 50
SAMPLE_USERS: Final = 20_000
"""Maximum number of users read, chosen by a hash of their ids."""
QUERY_USERS: Final = 1_000
"""Maximum number of these users whose hidden movies are searched."""
_AGREEMENT: Final = 10
_MOVIES_PER_BUCKET: Final = 100
_BUCKETS: Final = ((0, "0"), (1, "1-9"), (10, "10-99"), (100, "100-999"), (1000, "1000+"))


class Share(BaseModel):
    """Retrieval quality of one similarity.

    Attributes:
        hit_rate: share of the hidden movies among the 50 nearest.
        ndcg: mean over the hidden movies of 1 / log2(1 + rank), 0 beyond rank 50. This is NDCG@50
            with the hidden movie as the only relevant one (Jarvelin and Kekalainen, ACM TOIS 20,
            2002).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hit_rate: float
    ndcg: float


class Bucket(BaseModel):
    """Quality for the movies with some number of ratings in the training part of the sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratings: str = Field(description="range of the number of ratings, for example '10-99'")
    movies: int
    hidden: int = Field(description="hidden movies with so many ratings, counted per user")
    agreement_at_10: float | None = Field(description="see VectorQuality; None if unknown")
    found: dict[str, Share] = Field(description="by similarity; empty if no movie is hidden")


class VectorQuality(BaseModel):
    """Quality of the movie vectors of a release, stored in its facts.

    ``found`` is by similarity: ``movie_vectors``; ``raw_cosine``, the exact cosine of columns of
    stars; ``popularity``, the same scores for every user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(description="users whose training part the measured vectors are made from")
    asked: int = Field(description="users whose hidden movies are searched")
    hidden: int = Field(description="liked movies in the holdout of these users")
    found: dict[str, Share]
    agreement_at_10: float | None = Field(
        description="mean over movies: share of the 10 nearest by vectors that are also among the "
        "10 nearest by exact cosine on raw stars, or as near as those"
    )
    by_popularity: list[Bucket]
    franchises: FamilyRecall | None = Field(
        default=None,
        description="franchises by their titles, measured on the served vectors; None if the "
        "dataset has fewer than 5",
    )
    series: FamilyRecall | None = Field(
        default=None,
        description="series and makers whose titles share no words; None if the dataset has fewer "
        "than 5",
    )


def measure_quality(
    folder: Path, *, dim: int, served: MovieVectors | None = None, scale: RatingScale = STARS
) -> VectorQuality | None:
    """Measures how well vectors made from the training part retrieve liked holdout movies.

    A movie's score for a user is the sum of its similarities with the movies that the user liked
    (4 stars or more) in training; movies rated there are left out. This is item-based collaborative
    filtering (Sarwar et al., WWW 2001), measured by the hit rate of Deshpande and Karypis (ACM TOIS
    22, 2004). At most `SAMPLE_USERS` users are read and `QUERY_USERS` of them queried. The same
    features give the same result.

    Args:
        folder: folder of ``interactions.parquet`` (with ``split``) and ``movies.parquet``.
        dim: dimension of the vectors.
        served: vectors of all ratings; franchises and series are measured on them. None: not
            measured.
        scale: of the ratings, which are mapped to stars.

    Returns:
        None if no user liked a movie in both parts.
    """
    table = pl.scan_parquet(folder / contract.INTERACTIONS_FILE)
    users = table.select(pl.col("userId").unique()).collect(engine="streaming")["userId"]
    sample = _sample(users.to_numpy(), SAMPLE_USERS)
    rows = (
        table.filter(pl.col("userId").is_in(pl.Series(sample).implode()))
        .select(
            "userId",
            "movieId",
            scale.to_stars(pl.col("rating")).cast(pl.Float32),
            "timestamp",
            "split",
        )
        .collect(engine="streaming")
    )
    movies = read_movies(folder / contract.MOVIES_FILE)
    quality = quality_table(rows, movies, dim=dim)
    if quality is None or served is None:
        return quality
    counts = table.group_by("movieId").len().collect(engine="streaming")
    franchises, series = measure_families(served, movies, counts)
    return quality.model_copy(update={"franchises": franchises, "series": series})


def measure_families(
    served: MovieVectors, movies: pl.DataFrame, counts: pl.DataFrame
) -> tuple[FamilyRecall | None, FamilyRecall | None]:
    """Measures how many of the neighbors of a movie are of its franchise, and of its series.

    Args:
        served: the vectors.
        movies: movieId, title, year.
        counts: movieId and ``len``, its number of ratings.
    """
    known = movies.select("movieId", "title", "year").unique("movieId", keep="first")
    rows = pl.DataFrame({"movieId": served.ids}).join(
        known.join(counts, on="movieId"), on="movieId", how="left", maintain_order="left"
    )
    titles = rows["title"].fill_null("").to_list()
    ratings = rows["len"].fill_null(0).to_numpy().astype(np.int64)
    return (
        measure_family(served.vectors, find_franchises(titles, ratings), FRANCHISE_NEIGHBORS),
        measure_family(
            served.vectors, find_series(titles, rows["year"].to_list(), ratings), SERIES_NEIGHBORS
        ),
    )


def quality_table(
    interactions: pl.DataFrame, movies: pl.DataFrame, *, dim: int, query_users: int = QUERY_USERS
) -> VectorQuality | None:
    """Does the work of `measure_quality` for interactions in memory.

    Args:
        interactions: userId, movieId, rating (stars), split; timestamp if it is known.
        movies: see `compute_movie_vectors`.
        dim: dimension of the vectors.
        query_users: maximum number of users queried.
    """
    liked = pl.col("rating") >= LIKED_STARS
    train = interactions.filter(pl.col("split") == "train")
    hidden = interactions.filter((pl.col("split") == "holdout") & liked)
    hidden = hidden.filter(pl.col("userId").is_in(train.filter(liked)["userId"].unique().implode()))
    if hidden.is_empty():
        return None
    sample = _sample(hidden["userId"].unique().to_numpy(), query_users)
    hidden = hidden.filter(pl.col("userId").is_in(pl.Series(sample).implode()))
    movie_vectors = compute_movie_vectors(train, movies, dim=dim)
    stars = raw_stars(train, movie_vectors.ids)
    ratings = np.diff(stars.tocsc().indptr)
    task = RetrievalTask.from_frames(hidden, train, movie_vectors.ids)
    ranks = {
        "movie_vectors": task.ranks(by_vectors(movie_vectors)),
        "raw_cosine": task.ranks(by_raw_cosine(stars)),
        "popularity": task.ranks(by_popularity(ratings)),
    }
    counts = np.append(ratings, 0)[task.places]
    buckets = [
        _bucket(at, ratings, counts, ranks, stars, movie_vectors.vectors)
        for at in range(len(_BUCKETS))
    ]
    measured = [(b.movies, b.agreement_at_10) for b in buckets if b.agreement_at_10 is not None]
    total = sum(n for n, _ in measured)
    return VectorQuality(
        users=interactions["userId"].n_unique(),
        asked=len(sample),
        hidden=hidden.height,
        found=_found(ranks),
        agreement_at_10=sum(n * share for n, share in measured) / total if total else None,
        by_popularity=[b for b in buckets if b.movies or b.hidden],
    )


def agreement(
    stars: sp.csr_matrix, vectors: NDArray[np.float32], columns: NDArray[np.int64]
) -> float:
    """Returns ``agreement_at_10`` of `VectorQuality` for some movies.

    Args:
        stars: see `raw_stars`.
        vectors: float32 (movies, dim), each of length 1.
        columns: columns of the movies whose neighbors are compared.
    """
    # A sparse product only reads the users of these movies; a dense one would read all users.
    exact = (stars[:, columns].T.tocsr() @ stars).toarray()
    cosines = vectors[columns] @ vectors.T
    rows = np.arange(len(columns))
    exact[rows, columns] = cosines[rows, columns] = -np.inf
    k = min(_AGREEMENT, len(vectors) - 1)
    nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    limit = -np.partition(-exact, k - 1, axis=1)[:, k - 1 : k]
    return float((np.take_along_axis(exact, nearest, 1) >= limit - 1e-6).mean())


def _bucket(
    at: int,
    ratings: NDArray[np.int64],
    counts: NDArray[np.int64],
    ranks: dict[str, NDArray[np.float64]],
    stars: sp.csr_matrix,
    vectors: NDArray[np.float32],
) -> Bucket:
    least, name = _BUCKETS[at]
    end = _BUCKETS[at + 1][0] if at + 1 < len(_BUCKETS) else np.inf
    movies = np.flatnonzero((ratings >= least) & (ratings < end))
    columns = np.sort(_sample(movies, _MOVIES_PER_BUCKET))
    inside = (counts >= least) & (counts < end)
    return Bucket(
        ratings=name,
        movies=len(movies),
        hidden=int(inside.sum()),
        agreement_at_10=(
            agreement(stars, vectors, columns) if len(columns) and len(vectors) > 1 else None
        ),
        found=_found({kind: rank[inside] for kind, rank in ranks.items()}),
    )


def _found(ranks: dict[str, NDArray[np.float64]]) -> dict[str, Share]:
    return {
        kind: Share(
            hit_rate=float((rank <= NEIGHBORS).mean()),
            ndcg=float(np.where(rank <= NEIGHBORS, 1 / np.log2(1 + rank), 0).mean()),
        )
        for kind, rank in ranks.items()
        if len(rank)
    }


def _sample(ids: NDArray[np.integer], most: int) -> NDArray[np.integer]:
    """Returns at most ``most`` ids, pseudo-random but always the same."""
    order = np.argsort(place_of(ids.astype(np.uint64)), kind="stable")
    return ids[order[:most]]
