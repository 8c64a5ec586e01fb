"""Definitions of the metrics: rating errors, ranking quality, beyond-accuracy metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.contract import STARS, STEP, RatingScale
from recsys.evaluation.tables import (
    LONG_CUT,
    PAIR,
    Floats,
    Holdout,
    Indices,
    Ints,
    Mask,
    indices_of_ids,
    sums_by_user,
)

CUT: Final = 10
LIST_DEPTH: Final = 100
"""Number of a user's recommendations that are measured; lower ranks count as not recommended."""
LIKED_STARS: Final = 4.0
"""A rating of so many stars or more means that the user liked the movie."""
LOW_MEAN: Final = 3.0
"""Movies with a lower mean, in stars, are recommended by mistake rather than by taste."""


@dataclass(frozen=True)
class Ranking:
    """Ranks of the holdout's movies and first ten recommendations of one recommender.

    Attributes:
        rank: rank of each holdout movie in its user's list (1 is best, inf: not in it), shape (n,).
        top_user: user of each of the first ten recommendations, shape (m,).
        top_movie: movie of each of them, shape (m,).
    """

    rank: Floats
    top_user: Ints | Indices
    top_movie: Ints | Indices

    @classmethod
    def of(cls, recommendations: pl.DataFrame, holdout: Holdout) -> Ranking:
        """Reads userId, rank, movieId."""
        rank = holdout.pairs.select(PAIR).join(
            recommendations.select(*PAIR, "rank"), on=PAIR, how="left", maintain_order="left"
        )["rank"]
        top = recommendations.filter(pl.col("rank") <= CUT)
        return cls(
            rank=rank.cast(pl.Float64).fill_null(np.inf).to_numpy(),
            top_user=indices_of_ids(top, "userId", holdout.users),
            top_movie=indices_of_ids(top, "movieId", holdout.movies),
        )

    def of_users(self, users: Mask) -> Ranking:
        """Returns the ranking with the recommendations of some users only, shape (users,)."""
        kept = users[self.top_user]
        return Ranking(self.rank, self.top_user[kept], self.top_movie[kept])


@dataclass(frozen=True)
class Popularity:
    """Number of users who rated each movie in training.

    Attributes:
        raters: number of users by movie, shape (movies,).
        users: number of all users with a rating in training.
        mean: mean rating of each movie in training, NaN for unrated ones.
        low_mean: `LOW_MEAN` in the scale of the dataset.
    """

    raters: Ints
    users: int
    mean: Floats
    low_mean: float = LOW_MEAN


def rating_error(truth: Floats, prediction: Floats) -> dict[str, float]:
    """Returns the errors of predicted ratings over all pairs.

    ``rmse`` = sqrt(mean((r - p)^2)) and ``mae`` = mean(abs(r - p)), in the scale of the dataset
    (Herlocker et al., "Evaluating collaborative filtering recommender systems", ACM TOIS 22, 2004,
    section 4.1).

    Args:
        truth: true ratings, shape (n,).
        prediction: predicted ratings, shape (n,).
    """
    error = prediction - truth
    return {
        "rmse": float(np.sqrt(np.mean(np.square(error)))),
        "mae": float(np.mean(np.abs(error))),
    }


def calibration(
    truth: Floats, prediction: Floats, scale: RatingScale = STARS
) -> list[dict[str, Any]]:
    """Returns mean prediction by true stars, and mean rating by predicted stars.

    Args:
        truth: true ratings, shape (n,).
        prediction: predicted ratings, shape (n,).
        scale: of the ratings.

    Returns:
        An entry for each possible rating, ten of stars, with the rating as ``stars``; ``rows``, the
        number of these ratings, and their ``mean_prediction``; ``predicted_rows``, the number of
        predictions nearest to the rating (ties go up), and their ``mean_rating``, which is near
        ``stars`` for a calibrated model. The mean of no rows is null.
    """
    nearest = np.clip(np.floor(prediction / STEP + 0.5) * STEP, scale.min, scale.max)
    return [
        {
            "stars": stars,
            "rows": int(np.count_nonzero(rated := truth == stars)),
            "mean_prediction": _mean(prediction[rated]),
            "predicted_rows": int(np.count_nonzero(predicted := nearest == stars)),
            "mean_rating": _mean(truth[predicted]),
        }
        for stars in scale.steps()
    ]


def quality_by_user(user: Ints, rank: Floats, n_users: int) -> dict[str, Floats]:
    """Returns the ranking metrics of each user, shape (users,).

    For a user with n relevant movies at the ranks r (1 is best, inf: not in the list):

    - ``ndcg@10`` = sum of 1 / log2(r + 1) over r <= 10, divided by the same sum of an ideal list,
      whose first min(10, n) movies are relevant (Järvelin and Kekäläinen, "Cumulated
      gain-based evaluation of IR techniques", ACM TOIS 20, 2002, with gains of 0 and 1 and the
      discount log2(r + 1) of Burges et al., ICML 2005).
    - ``recall@k`` = number of r <= k, divided by n (Herlocker et al. 2004, section 4.2).
    - ``mrr`` = 1 / min(r), 0 if min(r) > 100 (Voorhees, TREC-8, 1999).

    The value is NaN for a user without a holdout pair.

    Args:
        user: index of each holdout pair's user in 0..n_users-1, shape (n,).
        rank: rank of each holdout pair's movie, shape (n,).
        n_users: number of users.
    """
    relevant = np.bincount(user, minlength=n_users).astype(np.float64)
    relevant[relevant == 0] = np.nan
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, CUT + 2)))
    at_best = ideal[np.nan_to_num(np.minimum(relevant, CUT), nan=1).astype(np.int64) - 1]
    gain = np.where(rank <= CUT, 1.0 / np.log2(rank + 1.0), 0.0)
    reciprocal = 0.0 * relevant
    np.maximum.at(reciprocal, user, np.where(rank <= LIST_DEPTH, 1.0 / rank, 0.0))

    def recall(cut: int) -> Floats:
        found = sums_by_user(user, (rank <= cut).astype(np.float64), n_users)
        return found / relevant

    gained = sums_by_user(user, gain, n_users)
    return {
        "ndcg@10": np.where(np.isnan(relevant), np.nan, gained / at_best),
        "recall@10": recall(CUT),
        "recall@20": recall(LONG_CUT),
        "mrr": reciprocal,
    }


def quality_on(holdout: Holdout, ranking: Ranking, mask: Mask) -> dict[str, Floats]:
    """Returns `quality_by_user` if only the pairs of ``mask`` are relevant, and ``liked_ndcg@10``.

    ``liked_ndcg@10`` is ``ndcg@10`` with the movies as relevant that the user gave 4 stars or more;
    it is NaN for users without one. Ranks are those in the whole list.
    """
    n_users = len(holdout.users)
    liked = mask & (holdout.stars >= holdout.scale.from_stars(LIKED_STARS))
    return {
        **quality_by_user(holdout.user[mask], ranking.rank[mask], n_users),
        "liked_ndcg@10": quality_by_user(holdout.user[liked], ranking.rank[liked], n_users)[
            "ndcg@10"
        ],
    }


def ndcg_by_user(holdout: Holdout, ranking: Ranking, mask: Mask) -> Floats:
    """Returns NDCG@10 of each user if only the pairs of ``mask`` are relevant, shape (users,)."""
    user, rank = holdout.user[mask], ranking.rank[mask]
    return quality_by_user(user, rank, len(holdout.users))["ndcg@10"]


def mean_quality(by_user: dict[str, Floats]) -> dict[str, float | None]:
    """Returns the mean of each metric over the users that have it; None if no user has it."""
    return {name: _mean(values[np.isfinite(values)]) for name, values in by_user.items()}


def coverage(ranking: Ranking, n_movies: int) -> float:
    """Returns the share of all movies that are among the first ten of at least one user.

    Ge et al., "Beyond accuracy", RecSys 2010, catalog coverage.
    """
    return len(np.unique(ranking.top_movie)) / n_movies


def beyond_accuracy_metrics(
    ranking: Ranking, popularity: Popularity, n_users: int
) -> dict[str, float]:
    """Returns beyond-accuracy metrics of the first ten recommendations.

    - ``coverage``: see `coverage`.
    - ``novelty``: -log2 of the share of training's users who rated a recommended movie, in bits; a
      movie without a rating counts as rated by one user (Zhou et al., "Solving the apparent
      diversity-accuracy dilemma", PNAS 107, 2010, mean self-information).
    - ``popularity_bias``: the share of training's users who rated a movie (Abdollahpouri et al.,
      "Managing popularity bias", FLAIRS 2019, average recommendation popularity, divided by the
      number of users).
    - ``low_rated_share``: share of the recommendations whose mean rating in training is below 3.

    All but coverage are averaged over a user's list, then over users.
    """
    share = popularity.raters / popularity.users
    bits = -np.log2(np.maximum(popularity.raters, 1) / popularity.users)
    length = np.bincount(ranking.top_user, minlength=n_users)
    listed = length > 0

    def mean(of_movie: Floats) -> float:
        sums = np.bincount(ranking.top_user, weights=of_movie[ranking.top_movie], minlength=n_users)
        return float(np.mean(sums[listed] / length[listed])) if listed.any() else 0.0

    return {
        "coverage": coverage(ranking, len(share)),
        "novelty": mean(bits),
        "popularity_bias": mean(share),
        "low_rated_share": mean((popularity.mean < popularity.low_mean).astype(np.float64)),
    }


def ranking_metrics(
    holdout: Holdout, ranking: Ranking, popularity: Popularity, mask: Mask | None = None
) -> dict[str, float | None]:
    """Returns the means of `quality_on`, and `beyond_accuracy_metrics`.

    Args:
        holdout: the pairs.
        ranking: ranks of the pairs, and the first ten recommendations.
        popularity: of the movies in training.
        mask: the relevant pairs; only their users are measured. None: all.
    """
    n_users = len(holdout.users)
    if mask is None:
        mask = np.ones(len(holdout), np.bool_)
    users = np.bincount(holdout.user[mask], minlength=n_users) > 0
    return {
        **mean_quality(quality_on(holdout, ranking, mask)),
        **beyond_accuracy_metrics(ranking.of_users(users), popularity, n_users),
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None
