"""EASE: each movie's score is a weighted sum over the user's other movies, of any age.

Minimizes |X - X B|^2 + penalty |B|^2 with a zero diagonal of B, in closed form (Steck,
"Embarrassingly shallow autoencoders for sparse data", WWW 2019). The softmax and the item-to-item
transition model learn how a sitting goes on; the ratings of a sitting are no different from those
of any other day here, which is what ranks the movies of a user's next visit.

With P = (X'X + penalty)^-1, B = I - P diag(P)^-1. There are fewer sampled users than movies, so P
is computed from the users' side: P = (I - Z'Z) / penalty with Z = K^-1 X, K K' = X X' + penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cholesky, solve_triangular

from trainer.config import RankingConfig
from trainer.data import Floats, Ratings
from trainer.ranking.subspace import leading_triplets

_RECENCY_SCALE: Final = 10.0
"""Ratings after which a rating's weight in the history is 1/e of the newest one's, in part."""
_OLDEST_WEIGHT: Final = 0.3
_BELOW_MEAN_WEIGHT: Final = 0.5
"""Weight of a rating below the user's mean, in the fit and in the history."""


@dataclass(frozen=True)
class EaseModel:
    """A low-rank factorization of B; movies that are not covered have zeros.

    Attributes:
        before: shape (movies, dim).
        after: shape (movies, dim).
    """

    before: Floats
    after: Floats

    def users(self, ratings: Ratings, first: int, end: int) -> Floats:
        """Returns vectors of users first..end-1, to be multiplied with ``after`` for scores."""
        made: Floats = weighted_history(ratings, first, end) @ self.before
        return made


def weighted_history(ratings: Ratings, first: int, end: int) -> sp.csr_matrix:
    """Weights all ratings of users first..end-1 by recency and liking, (users, movies)."""
    rows = slice(ratings.user_start[first], ratings.user_start[end])
    age = ratings.user_start[ratings.user[rows] + 1] - 1 - np.arange(rows.start, rows.stop)
    recency = np.exp(-age / _RECENCY_SCALE) + _OLDEST_WEIGHT
    weight = recency.astype(np.float32) * _liking(ratings, first, end)
    return _matrix(ratings, first, end, weight)


def fit_ease(ratings: Ratings, config: RankingConfig, rng: np.random.Generator) -> EaseModel:
    """Fits to a sample of users, for the most rated movies.

    Args:
        ratings: the interactions to fit to.
        config: the fields whose names begin with ``ease``.
        rng: the same state gives the same tables on the same machine.
    """
    count = np.bincount(ratings.movie, minlength=len(ratings.movie_ids))
    before = np.zeros((len(count), config.ease_dim), np.float32)
    after = np.zeros_like(before)
    covered = np.argsort(-count, kind="stable")[: config.ease_movies]
    # A movie that was rated once would only repeat what else its user rated.
    covered = np.sort(covered[count[covered] > 1])
    if not len(covered) or not config.ease_weight:
        return EaseModel(before, after)
    n_users = len(ratings.user_ids)
    chosen = np.sort(rng.choice(n_users, min(config.ease_users, n_users), replace=False))
    sample = ratings.subset(np.isin(ratings.user, chosen)) if len(chosen) < n_users else ratings
    liking = _matrix(sample, 0, n_users, _liking(sample, 0, n_users))
    liked = liking[chosen][:, covered].toarray()
    gram = liked @ liked.T
    gram[np.diag_indices_from(gram)] += config.ease_penalty
    factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    solved = solve_triangular(factor, liked, lower=True, overwrite_b=True, check_finite=False)
    del liked, gram, factor
    # Proportional to the diagonal of P, whose scale cancels in P diag(P)^-1.
    diagonal = (1 - np.einsum("um,um->m", solved, solved))[:, None]
    history = weighted_history(sample, 0, n_users)[chosen][:, covered]

    def weights(block: Floats) -> Floats:
        scaled = block / diagonal
        made: Floats = block - scaled + solved.T @ (solved @ scaled)
        return made

    def transposed_weights(block: Floats) -> Floats:
        made: Floats = block - (block - solved.T @ (solved @ block)) / diagonal
        return made

    # The best approximation of the users' scores: the leading axes of history times B.
    _, _, axes = leading_triplets(
        lambda block: history @ weights(block),
        lambda block: transposed_weights(history.T @ block),
        len(covered),
        config.ease_dim,
        rng,
    )
    before[covered, : axes.shape[1]] = weights(axes)
    after[covered, : axes.shape[1]] = axes
    return EaseModel(before, after)


def _liking(ratings: Ratings, first: int, end: int) -> Floats:
    """Returns the weight of each rating of users first..end-1 by its stars."""
    rows = slice(ratings.user_start[first], ratings.user_start[end])
    user = ratings.user[rows] - first
    mean = np.bincount(user, ratings.stars[rows]) / np.maximum(np.bincount(user), 1)
    liking: Floats = np.where(ratings.stars[rows] < mean[user], _BELOW_MEAN_WEIGHT, 1.0).astype(
        np.float32
    )
    return liking


def _matrix(ratings: Ratings, first: int, end: int, values: Floats) -> sp.csr_matrix:
    start = ratings.user_start[first : end + 1]
    rows = slice(start[0], start[-1])
    shape = (end - first, len(ratings.movie_ids))
    return sp.csr_matrix((values, ratings.movie[rows], start - start[0]), shape=shape)
