"""How good movie vectors are: would they have led users to movies that they went on to like?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys import contract
from recsys.vectors.movie_vectors import MovieVectors, compute_movie_vectors, read_movies

LIKED_STARS: Final = 4.0
NEIGHBORS: Final = 50
SAMPLE_USERS: Final = 20_000
"""Of more users only so many are looked at, chosen by a hash of their ids."""
ASKED_USERS: Final = 1_000
"""Of them so many, at most, are asked which hidden movies they liked."""
_AGREEMENT: Final = 10
_MOVIES_PER_BUCKET: Final = 100
_BUCKETS: Final = ((0, "0"), (1, "1-9"), (10, "10-99"), (100, "100-999"), (1000, "1000+"))
_USERS_AT_ONCE: Final = 128

Scores = Callable[[sp.csr_matrix], NDArray[np.float32]]
"""From liked movies, ones in (users, movies), to the nearness of each movie to each user."""


class Share(BaseModel):
    """What one kind of similarity finds.

    Attributes:
        hit_rate: share of the hidden movies among the 50 nearest.
        ndcg: mean over the hidden movies of 1 / log2(1 + rank), 0 beyond 50: NDCG@50 where a
            hidden movie is the only relevant one (Jarvelin and Kekalainen, ACM TOIS 20, 2002).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hit_rate: float
    ndcg: float


class Bucket(BaseModel):
    """Quality for the movies with some number of ratings in the training part of the sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratings: str = Field(description="how many, '10-99' for example")
    movies: int
    hidden: int = Field(description="hidden movies of this kind, once for each user")
    agreement_at_10: float | None = Field(description="see VectorQuality; None if unknown")
    found: dict[str, Share] = Field(description="by kind of similarity; empty if none is hidden")


class VectorQuality(BaseModel):
    """The quality table of movie vectors, part of the facts of a release.

    ``found`` is by kind of similarity: ``movie_vectors``; ``raw_cosine``, exact cosine of the
    columns of stars; ``popularity``, the same for everyone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(description="users whose training part the measured vectors are made of")
    asked: int = Field(description="users whose hidden movies are looked for")
    hidden: int = Field(description="liked movies of the holdout, all asked users together")
    found: dict[str, Share]
    agreement_at_10: float | None = Field(
        description="share of a movie's 10 nearest by vectors that are as near by exact cosine on "
        "raw stars as the 10 nearest by that; mean over movies"
    )
    by_popularity: list[Bucket]


def hide_last_liked(interactions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hides the last movie that each user liked, for `neighbor_hit_rate`.

    Users who liked fewer than two movies keep all: there would be nothing to find it by.

    Args:
        interactions: userId, movieId, rating (stars), timestamp.

    Returns:
        What is left, and what was hidden: one row for each of the other users.
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
    """Hit rate: the share of hidden movies among the k neighbors of the user's liked ones.

    A movie's nearness to a user is the sum of its cosines with the movies that the user liked (4
    stars or more) in ``train``; movies rated there are left out. This is item-based
    collaborative filtering (Sarwar et al., WWW 2001) with the vectors' similarities, judged by
    the hit rate of Deshpande and Karypis (ACM TOIS 22, 2004). A hidden movie without a vector,
    or of a user who liked nothing, is a miss.

    Args:
        made: vectors made from ``train``.
        train: userId, movieId, rating (stars).
        hidden: userId, movieId: hidden movies that their users liked; at least one row.
        k: number of neighbors.
    """
    ranks = RetrievalTask.from_frames(hidden, train, made.ids).ranks(by_vectors(made))
    return int(np.count_nonzero(ranks <= k)) / hidden.height


def measure_quality(folder: Path, *, dim: int) -> VectorQuality | None:
    """Measures vectors made from the training part against the holdout.

    The work is bounded: at most `SAMPLE_USERS` users are read, and `ASKED_USERS` asked. The same
    features give the same table.

    Args:
        folder: holds ``interactions.parquet`` (with ``split``) and ``movies.parquet``.
        dim: dimension of the vectors.

    Returns:
        None if no user liked a movie in both parts.
    """
    table = pl.scan_parquet(folder / contract.INTERACTIONS_FILE)
    users = table.select(pl.col("userId").unique()).collect(engine="streaming")["userId"]
    chosen = _some(users.to_numpy(), SAMPLE_USERS)
    rows = (
        table.filter(pl.col("userId").is_in(pl.Series(chosen).implode()))
        .select("userId", "movieId", "rating", "split")
        .collect(engine="streaming")
    )
    return quality_table(rows, read_movies(folder / contract.MOVIES_FILE), dim=dim)


def quality_table(
    interactions: pl.DataFrame, movies: pl.DataFrame, *, dim: int, asked: int = ASKED_USERS
) -> VectorQuality | None:
    """The table of `measure_quality` for interactions in memory.

    Args:
        interactions: userId, movieId, rating (stars), split.
        movies: see `compute_movie_vectors`.
        dim: dimension of the vectors.
        asked: at most so many users are asked.
    """
    liked = pl.col("rating") >= LIKED_STARS
    train = interactions.filter(pl.col("split") == "train")
    hidden = interactions.filter((pl.col("split") == "holdout") & liked)
    hidden = hidden.filter(pl.col("userId").is_in(train.filter(liked)["userId"].unique().implode()))
    if hidden.is_empty():
        return None
    chosen = _some(hidden["userId"].unique().to_numpy(), asked)
    hidden = hidden.filter(pl.col("userId").is_in(pl.Series(chosen).implode()))
    made = compute_movie_vectors(train, movies, dim=dim)
    stars = raw_stars(train, made.ids)
    ratings = np.diff(stars.tocsc().indptr)
    task = RetrievalTask.from_frames(hidden, train, made.ids)
    ranks = {
        "movie_vectors": task.ranks(by_vectors(made)),
        "raw_cosine": task.ranks(by_raw_cosine(stars)),
        "popularity": task.ranks(by_popularity(ratings)),
    }
    counts = np.append(ratings, 0)[task.places]
    buckets = [
        _bucket(at, ratings, counts, ranks, stars, made.vectors) for at in range(len(_BUCKETS))
    ]
    measured = [(b.movies, b.agreement_at_10) for b in buckets if b.agreement_at_10 is not None]
    total = sum(n for n, _ in measured)
    return VectorQuality(
        users=interactions["userId"].n_unique(),
        asked=len(chosen),
        hidden=hidden.height,
        found=_found(ranks),
        agreement_at_10=sum(n * share for n, share in measured) / total if total else None,
        by_popularity=[b for b in buckets if b.movies or b.hidden],
    )


@dataclass(frozen=True)
class RetrievalTask:
    """Hidden movies, and what is known of the users who liked them.

    Attributes:
        seen: ones where a user rated a movie in training, (users, movies).
        liked: ones where the user liked it there.
        users: row in ``seen`` of each hidden movie's user, int64 (hidden,).
        places: column of each hidden movie; -1 if it is not among the movies.
    """

    seen: sp.csr_matrix
    liked: sp.csr_matrix
    users: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def from_frames(cls, hidden: pl.DataFrame, train: pl.DataFrame, ids: NDArray[np.int32]) -> Self:
        """The task for ``hidden`` (userId, movieId) after ``train`` (also rating)."""
        users, row = np.unique(hidden["userId"].to_numpy(), return_inverse=True)
        rated = train.filter(
            pl.col("userId").is_in(pl.Series(users).implode())
            & pl.col("movieId").is_in(pl.Series(ids).implode())
        )
        liked = rated.filter(pl.col("rating") >= LIKED_STARS)
        movies = hidden["movieId"].to_numpy()
        place = np.minimum(np.searchsorted(ids, movies), len(ids) - 1)
        place[ids[place] != movies] = -1
        return cls(_pairs(rated, users, ids), _pairs(liked, users, ids), row, place)

    def ranks(self, scores_of: Scores) -> NDArray[np.float64]:
        """The rank of each hidden movie, 1 first, among those its user has not rated.

        Equal scores share their mean rank. It is infinite for a movie that is not among the
        movies, and for users who liked nothing.
        """
        ranks = np.full(len(self.users), np.inf)
        for start in range(0, self.seen.shape[0], _USERS_AT_ONCE):
            rows = slice(start, start + _USERS_AT_ONCE)
            scores = scores_of(self.liked[rows])
            scores[self.seen[rows].nonzero()] = -np.inf
            knows = np.diff(self.liked[rows].indptr) > 0
            inside = (self.users >= start) & (self.users < start + len(scores)) & (self.places >= 0)
            for at in np.flatnonzero(inside):
                row = self.users[at] - start
                own = scores[row, self.places[at]]
                if knows[row] and np.isfinite(own):
                    above = np.count_nonzero(scores[row] > own)
                    ranks[at] = above + (np.count_nonzero(scores[row] == own) + 1) / 2
        return ranks


def by_vectors(made: MovieVectors) -> Scores:
    """Nearness by the cosine of vectors."""
    return lambda liked: (liked @ made.vectors) @ made.vectors.T


def by_raw_cosine(stars: sp.csr_matrix) -> Scores:
    """Nearness by exact cosine of the columns of `raw_stars`."""
    # By movies: their products read a few users' scores over and over, which stay in the cache.
    by_movie = stars.T.tocsr()

    def scores(liked: sp.csr_matrix) -> NDArray[np.float32]:
        # Few liked movies: this product is sparse, and a tenth of the work of a dense one.
        profiles = (stars @ liked.T.tocsr()).toarray()
        return np.ascontiguousarray((by_movie @ profiles).T)

    return scores


def by_popularity(ratings: NDArray[np.int64]) -> Scores:
    """Nearness by the number of a movie's ratings."""
    return lambda liked: np.tile(ratings.astype(np.float32), (liked.shape[0], 1))


def raw_stars(train: pl.DataFrame, ids: NDArray[np.int32]) -> sp.csr_matrix:
    """The stars, float32 (users, movies), each column brought to length 1."""
    users, user = np.unique(train["userId"].to_numpy(), return_inverse=True)
    movie = np.searchsorted(ids, train["movieId"].to_numpy())
    stars = train["rating"].to_numpy().astype(np.float32)
    lengths = np.sqrt(np.bincount(movie, np.square(stars), minlength=len(ids)))
    values = stars / lengths[movie].astype(np.float32)
    return sp.csr_matrix((values, (user, movie)), shape=(len(users), len(ids)))


def agreement(
    stars: sp.csr_matrix, vectors: NDArray[np.float32], asked: NDArray[np.int64]
) -> float:
    """Share of 10 nearest by vectors that are as near by `raw_stars` as the 10 nearest there.

    Args:
        stars: see `raw_stars`.
        vectors: float32 (movies, dim), each of length 1.
        asked: columns of the movies whose neighbors are compared.
    """
    # The users of a movie, and all that these rated: sparse, where a dense product reads all users.
    exact = (stars[:, asked].T.tocsr() @ stars).toarray()
    found = vectors[asked] @ vectors.T
    rows = np.arange(len(asked))
    exact[rows, asked] = found[rows, asked] = -np.inf
    k = min(_AGREEMENT, len(vectors) - 1)
    nearest = np.argpartition(-found, k - 1, axis=1)[:, :k]
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
    asked = np.sort(_some(movies, _MOVIES_PER_BUCKET))
    inside = (counts >= least) & (counts < end)
    return Bucket(
        ratings=name,
        movies=len(movies),
        hidden=int(inside.sum()),
        agreement_at_10=(
            agreement(stars, vectors, asked) if len(asked) and len(vectors) > 1 else None
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


def _some(ids: NDArray[np.integer], most: int) -> NDArray[np.integer]:
    """At most so many ids, always the same ones, in no order that means something."""
    # Knuth's multiplicative hash (The Art of Computer Programming 3, 6.4).
    order = np.argsort((ids.astype(np.uint64) * 2654435761) % 2**32, kind="stable")
    return ids[order[:most]]


def _pairs(frame: pl.DataFrame, users: NDArray[np.int32], ids: NDArray[np.int32]) -> sp.csr_matrix:
    """Ones where a row of ``frame`` is, shape (users, movies)."""
    places = (
        np.searchsorted(users, frame["userId"].to_numpy()),
        np.searchsorted(ids, frame["movieId"].to_numpy()),
    )
    shape = (len(users), len(ids))
    return sp.csr_matrix((np.ones(frame.height, np.float32), places), shape=shape)
