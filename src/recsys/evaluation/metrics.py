"""The definitions: errors of predicted stars, quality and character of recommended lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.evaluation.tables import (
    LONG_CUT,
    PAIR,
    Floats,
    Holdout,
    Ints,
    Mask,
    Places,
    places,
    sums_by_user,
)

CUT: Final = 10
LIST_DEPTH: Final = 100
"""Places of a user's recommendations that count; the first relevant one below it is not seen."""
STARS: Final = tuple(half / 2 for half in range(1, 11))


@dataclass(frozen=True)
class Ranking:
    """What some recommender gave the holdout's users, as far as it is measured.

    Attributes:
        rank: of each held-out movie in its user's list (1 is best, inf: not in it), shape (n,).
        top_user: user of each of the first ten recommendations, shape (m,).
        top_movie: its movie, shape (m,).
    """

    rank: Floats
    top_user: Ints | Places
    top_movie: Ints | Places

    @classmethod
    def of(cls, recommendations: pl.DataFrame, holdout: Holdout) -> Ranking:
        """Reads userId, rank, movieId."""
        rank = holdout.pairs.select(PAIR).join(
            recommendations.select(*PAIR, "rank"), on=PAIR, how="left", maintain_order="left"
        )["rank"]
        top = recommendations.filter(pl.col("rank") <= CUT)
        return cls(
            rank=rank.cast(pl.Float64).fill_null(np.inf).to_numpy(),
            top_user=places(top, "userId", holdout.users),
            top_movie=places(top, "movieId", holdout.movies),
        )


@dataclass(frozen=True)
class Popularity:
    """How many rated each movie in training.

    Attributes:
        raters: by movie, shape (movies,).
        users: all who rated anything in training.
    """

    raters: Ints
    users: int


def rating_error(truth: Floats, prediction: Floats) -> dict[str, float]:
    """Errors of predicted stars, each over all pairs alike.

    ``rmse`` = sqrt(mean((r - p)^2)) and ``mae`` = mean(abs(r - p)), in stars (Herlocker et al.,
    "Evaluating collaborative filtering recommender systems", ACM TOIS 22, 2004, section 4.1).

    Args:
        truth: given stars, shape (n,).
        prediction: predicted stars, shape (n,).
    """
    error = prediction - truth
    return {
        "rmse": float(np.sqrt(np.mean(np.square(error)))),
        "mae": float(np.mean(np.abs(error))),
    }


def calibration(truth: Floats, prediction: Floats) -> list[dict[str, Any]]:
    """For each number of stars: what was predicted where it was given, and the reverse.

    Returns:
        Ten entries: ``stars``; ``rows`` where they were given and their ``mean_prediction``;
        ``predicted_rows`` whose prediction is nearest to them (half way: the upper) and their
        ``mean_rating``, which a calibrated model has near ``stars``. Null is the mean of no rows.
    """
    nearest = np.clip(np.floor(prediction * 2 + 0.5) / 2, STARS[0], STARS[-1])
    return [
        {
            "stars": stars,
            "rows": int(np.count_nonzero(given := truth == stars)),
            "mean_prediction": _mean(prediction[given]),
            "predicted_rows": int(np.count_nonzero(told := nearest == stars)),
            "mean_rating": _mean(truth[told]),
        }
        for stars in STARS
    ]


def quality_by_user(user: Ints, rank: Floats, n_users: int) -> dict[str, Floats]:
    """How high the held-out movies stand in their users' rankings, by user, shape (users,).

    For a user with n relevant movies standing at the ranks r (1 is best, inf: not in the list):

    - ``ndcg@10`` = sum of 1 / log2(r + 1) over r <= 10, divided by the same sum of an ideal list,
      which has its min(10, n) first places relevant (Järvelin and Kekäläinen, "Cumulated
      gain-based evaluation of IR techniques", ACM TOIS 20, 2002, with gains of 0 and 1 and the
      discount log2(r + 1) of Burges et al., ICML 2005).
    - ``recall@k`` = number of r <= k, divided by n (Herlocker et al. 2004, section 4.2).
    - ``mrr`` = 1 / min(r), 0 if that is beyond place 100 (Voorhees, TREC-8, 1999).

    A user without a pair has NaN.

    Args:
        user: for each held-out pair the place of its user in 0..n_users-1, shape (n,).
        rank: for each held-out pair the rank of its movie, shape (n,).
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


def ranking_quality(user: Ints, rank: Floats, n_users: int) -> dict[str, float]:
    """Means of `quality_by_user` over the users who have a pair."""
    by_user = quality_by_user(user, rank, n_users)
    return {name: float(np.nanmean(values)) for name, values in by_user.items()}


def coverage(ranking: Ranking, n_movies: int) -> float:
    """Share of all movies that are among the first ten of anyone.

    Ge et al., "Beyond accuracy", RecSys 2010, catalog coverage.
    """
    return len(np.unique(ranking.top_movie)) / n_movies


def list_character(ranking: Ranking, popularity: Popularity, n_users: int) -> dict[str, float]:
    """What the first ten recommendations are like, whether they were wanted or not.

    - ``coverage``: see `coverage`.
    - ``novelty``: -log2 of the share of training's users who rated a recommended movie, in bits; a
      movie that none rated counts as rated by one (Zhou et al., "Solving the apparent
      diversity-accuracy dilemma", PNAS 107, 2010, mean self-information).
    - ``popularity_bias``: the share itself, 0 to 1 (Abdollahpouri et al., "Managing popularity
      bias", FLAIRS 2019, average recommendation popularity, divided by the number of users).

    The last two are means over a user's list, then over users.
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
    }


def ranking_metrics(holdout: Holdout, ranking: Ranking, popularity: Popularity) -> dict[str, float]:
    """`ranking_quality` and `list_character` of one recommender on the whole holdout."""
    n_users = len(holdout.users)
    return {
        **ranking_quality(holdout.user, ranking.rank, n_users),
        **list_character(ranking, popularity, n_users),
    }


def subset_quality(
    holdout: Holdout, ranking: Ranking, mask: Mask, names: tuple[str, ...]
) -> dict[str, float]:
    """`ranking_quality` where only some held-out movies are relevant, of the users who have any.

    Ranks stay those of the whole list.
    """
    by_user = quality_by_user(holdout.user[mask], ranking.rank[mask], len(holdout.users))
    return {name: float(np.nanmean(by_user[name])) for name in names}


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None
