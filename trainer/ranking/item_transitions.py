"""Item-to-item transition model: ridge regression from a history to the movies rated next.

Each training example gives one row of H, its recency-weighted history, and one row of Y, the
movies rated next. The regression W minimizes |H W - Y|^2 + penalty |W|^2 (the linear transition
model of Choe et al., "Session-aware linear item-item models for session-based recommendation",
WWW 2021; closed-form item models: Steck, "Embarrassingly shallow autoencoders for sparse data",
WWW 2019). W is never materialized: with the Cholesky factor L of H'H + penalty, the truncated SVD
of L'W = L^-1 H'Y is the low-rank approximation that best preserves the scores of all histories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from trainer.config import RankingConfig
from trainer.data import Floats, Ratings
from trainer.ranking.examples import TrainingExamples, examples_before
from trainer.ranking.subspace import leading_triplets

_LIKED_WEIGHT: Final = 1.5
_RECENCY_SCALE: Final = 7.0
_OLDEST_WEIGHT: Final = 0.1
_LEAST_RATINGS: Final = 3
"""Rarer movies would only repeat what followed them; covering them doubles the time."""


@dataclass(frozen=True)
class ItemTransitionModel:
    """A low-rank factorization of W; movies with too few ratings to be fitted have zeros.

    Attributes:
        before: shape (movies, dim).
        after: shape (movies, dim).
    """

    before: Floats
    after: Floats

    def users(self, examples: TrainingExamples) -> Floats:
        """Returns vectors of histories, (n, dim), to be multiplied with ``after`` for scores."""
        weight = history_weights(examples)
        padded = np.vstack([self.before, np.zeros((1, self.before.shape[1]), np.float32)])
        result = np.zeros((len(weight), self.before.shape[1]), np.float32)
        for k in range(weight.shape[1]):
            result += weight[:, k, None] * padded[examples.history[:, k]]
        return result


def history_weights(examples: TrainingExamples) -> Floats:
    """Weights a history's movies by recency and liking; rows sum to 1, shape (n, history)."""
    recency = np.exp(-np.arange(examples.history.shape[1]) / _RECENCY_SCALE) + _OLDEST_WEIGHT
    weight = np.where(examples.known, recency * np.where(examples.liked, _LIKED_WEIGHT, 1.0), 0.0)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    return weight.astype(np.float32)


def fit_item_transitions(
    ratings: Ratings, config: RankingConfig, rng: np.random.Generator
) -> ItemTransitionModel:
    """Fits to at most ``config.transition_moments`` examples, for the most rated movies.

    Args:
        ratings: the interactions to fit to.
        config: the fields whose names begin with ``transition``, and those of an example.
        rng: the same state gives the same tables on the same machine.
    """
    count = np.bincount(ratings.movie, minlength=len(ratings.movie_ids))
    covered = np.argsort(-count, kind="stable")[: config.transition_movies]
    covered = np.sort(covered[count[covered] >= _LEAST_RATINGS])
    rows = np.flatnonzero(np.arange(len(ratings)) > ratings.user_start[ratings.user])
    if len(rows) > config.transition_moments:
        rows = np.sort(rng.choice(rows, config.transition_moments, replace=False))
    before = np.zeros((len(count), config.transition_dim), np.float32)
    after = np.zeros_like(before)
    dim = min(config.transition_dim, len(covered))
    if not dim or not len(rows):
        return ItemTransitionModel(before, after)
    place = np.full(len(count) + 1, -1, np.int32)
    place[covered] = np.arange(len(covered), dtype=np.int32)
    examples = examples_before(ratings, rows, config)
    histories = _sparse(place[examples.history], history_weights(examples), len(covered))
    following = _sparse(place[examples.next], examples.weight, len(covered))
    gram = (histories.T @ histories).toarray()
    gram[np.diag_indices_from(gram)] += config.transition_penalty
    factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    product = (histories.T @ following).tocsr()

    def times(block: Floats) -> Floats:
        made: Floats = solve_triangular(factor, product @ block, lower=True, check_finite=False)
        return made

    def transposed_times(block: Floats) -> Floats:
        solved = solve_triangular(factor, block, lower=True, trans="T", check_finite=False)
        made: Floats = product.T @ solved
        return made

    left, scale, right = leading_triplets(times, transposed_times, len(covered), dim, rng)
    before[covered, :dim] = solve_triangular(factor, left, lower=True, trans="T") * np.sqrt(scale)
    after[covered, :dim] = right * np.sqrt(scale)
    return ItemTransitionModel(before, after)


def _sparse(column: NDArray[np.int32], value: Floats, columns: int) -> sp.csr_matrix:
    known = (column >= 0) & (value > 0)
    row = np.nonzero(known)[0]
    shape = (len(column), columns)
    return sp.csr_matrix((value[known], (row, column[known])), shape=shape, dtype=np.float32)
