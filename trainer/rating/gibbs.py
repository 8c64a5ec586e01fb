"""Bayesian matrix factorization, sampled: the other half of the rating model.

    stars = mean + b_u + b_i + p_u . q_i + noise,   (b_i, q_i) ~ N(B' c_i, L^-1),

with c_i the content of movie i, and a normal-Wishart prior on B, L and on the users' counterparts
(Salakhutdinov and Mnih, "Bayesian probabilistic matrix factorization using Markov chain Monte
Carlo", ICML 2008; content as in Simm et al., "Macau", MLSP 2017). Each sample has one vector and
one bias for each user and movie, so that the mean of the samples folds exactly into `FoldedRating`.
All penalties are sampled too, so none is tuned. Its errors differ from those of `RatingMembers`,
and the average of both is better than either (docs/adr/0006-the-rating-model.md).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trainer.data import Floats, Ratings
from trainer.rating.folded import FoldedRating

_BURN_IN: Final = 20
_INITIAL_SCALE: Final = 0.1
_INITIAL_PRECISION: Final = 1.5
_PENALTY_LIMITS: Final = (1e-2, 1e6)

_Doubles = NDArray[np.float64]


def sample_ratings_model(
    ratings: Ratings,
    factors: int,
    samples: int,
    weights: Floats,
    rng: np.random.Generator,
) -> FoldedRating:
    """Returns the mean prediction of samples of the posterior.

    Args:
        ratings: the interactions to fit to.
        factors: latent dimension of each sample.
        samples: number of samples, after 20 that are discarded.
        weights: of the interactions; their mean is 1.
        rng: the same state gives the same model on the same machine.
    """
    # The matrices of users and movies are small: a second thread mostly waits.
    with threadpool_limits(1, "blas"):
        return _sample(ratings, factors, samples, weights, rng)


def _sample(
    ratings: Ratings, factors: int, samples: int, weights: Floats, rng: np.random.Generator
) -> FoldedRating:
    user, movie, n = ratings.user, ratings.movie, len(ratings)
    n_users, n_movies = len(ratings.user_ids), len(ratings.movie_ids)
    mean = float(ratings.stars.mean())
    centered = ratings.stars - np.float32(mean)
    norm = np.sqrt(np.maximum(ratings.content.sum(axis=1, keepdims=True), 1))
    users = _Side(np.zeros((n_users, 0), np.float32), factors, user, movie, n_movies, weights)
    movies = _Side(ratings.content / norm, factors, movie, user, n_users, weights)
    for side in (users, movies):
        side.rows[:, 1:] = rng.normal(0, _INITIAL_SCALE, (len(side.rows), factors))
    precision = _INITIAL_PRECISION
    user_vectors = np.zeros((n_users, samples * factors), np.float32)
    movie_vectors = np.zeros((n_movies, samples * factors), np.float32)
    user_bias, movie_bias = np.zeros(n_users), np.zeros(n_movies)
    for step in range(-_BURN_IN, samples):
        users.sample(centered, movies.rows, precision, rng)
        movies.sample(centered, users.rows, precision, rng)
        own, other = users.rows[user], movies.rows[movie]
        predicted = own[:, 0] + other[:, 0] + np.einsum("nk,nk->n", own[:, 1:], other[:, 1:])
        error = float(np.sum(weights * np.square(centered - predicted), dtype=np.float64))
        precision = rng.gamma((1 + n) / 2) / ((1 + error) / 2)
        if step >= 0:
            columns = slice(step * factors, (step + 1) * factors)
            user_vectors[:, columns] = users.rows[:, 1:]
            movie_vectors[:, columns] = movies.rows[:, 1:]
            user_bias += users.rows[:, 0]
            movie_bias += movies.rows[:, 0]
    return FoldedRating(
        user_ids=ratings.user_ids,
        movie_ids=ratings.movie_ids,
        user_vectors=user_vectors / np.float32(samples),
        movie_vectors=movie_vectors,
        user_bias=(mean + user_bias / samples).astype(np.float32),
        movie_bias=(movie_bias / samples).astype(np.float32),
    )


class _Side:
    """The rows of all users or of all movies, and their prior.

    Attributes:
        rows: bias and factors of each, float32 (n, 1 + factors).
    """

    def __init__(
        self,
        content: Floats,
        factors: int,
        own: NDArray[np.int32],
        other: NDArray[np.int32],
        others: int,
        weights: Floats,
    ) -> None:
        n, self._dim = len(content), 1 + factors
        self.rows: Floats = np.zeros((n, self._dim), np.float32)
        self._features = np.hstack([np.ones((n, 1), np.float32), content])
        values, axes = np.linalg.eigh((self._features.T @ self._features).astype(np.float64))
        self._values, self._axes = np.maximum(values, 0), axes
        self._by_content = np.zeros((self._features.shape[1], self._dim))
        self._penalty = 10.0
        self._other = other
        self._weights = sp.csr_matrix((weights, (own, other)), shape=(n, others))
        places = sp.csr_matrix((np.arange(1, len(own) + 1), (own, other)), shape=(n, others))
        self._order = places.data - 1
        self._weighted = self._weights.copy()

    def sample(
        self, centered: Floats, others: Floats, precision: float, rng: np.random.Generator
    ) -> None:
        """Samples the prior given the rows, then the rows given the ratings and the other side."""
        inverse_covariance = self._sample_prior(rng)
        target = (centered - others[self._other, 0])[self._order]
        self._weighted.data = self._weights.data * target
        design = others.copy()
        design[:, 0] = 1
        upper = np.triu_indices(self._dim)
        sums = precision * (self._weights @ (design[:, upper[0]] * design[:, upper[1]]))
        inverses = np.empty((len(self.rows), self._dim, self._dim))
        inverses[:, upper[0], upper[1]] = sums
        inverses[:, upper[1], upper[0]] = sums
        inverses += inverse_covariance
        right = precision * (self._weighted @ design)
        right = right + (self._features @ self._by_content) @ inverse_covariance
        factor: Any = np.linalg.cholesky(inverses)
        half = np.linalg.solve(factor, right[..., None])
        noise = rng.standard_normal(half.shape)
        made = np.linalg.solve(factor.transpose(0, 2, 1), half + noise)[..., 0]
        self.rows = made.astype(np.float32)

    def _sample_prior(self, rng: np.random.Generator) -> _Doubles:
        """Samples the map from content and the inverse covariance, which is returned."""
        rows = self.rows.astype(np.float64)
        residual = rows - self._features @ self._by_content
        features = len(self._by_content)
        scatter = residual.T @ residual + np.eye(self._dim)
        scatter += self._penalty * self._by_content.T @ self._by_content
        freedom = self._dim + 2 + len(rows) + features
        inverse_covariance = _wishart(freedom, np.linalg.inv(scatter), rng)
        root = np.linalg.cholesky(np.linalg.inv(inverse_covariance))
        curvature = (self._values + self._penalty)[:, None]
        noise = rng.standard_normal(self._by_content.shape) @ root.T
        projected = self._axes.T @ (self._features.T @ rows)
        self._by_content = self._axes @ (projected / curvature + noise / np.sqrt(curvature))
        energy = float(np.sum((self._by_content @ inverse_covariance) * self._by_content))
        drawn = rng.gamma((1 + self._by_content.size) / 2) / ((1 + energy) / 2)
        self._penalty = float(np.clip(drawn, *_PENALTY_LIMITS))
        return inverse_covariance


def _wishart(freedom: int, scale: _Doubles, rng: np.random.Generator) -> _Doubles:
    """Draws from the Wishart distribution (Bartlett, 1933)."""
    dim = len(scale)
    lower = np.zeros((dim, dim))
    lower[np.diag_indices(dim)] = np.sqrt(rng.chisquare(freedom - np.arange(dim)))
    lower[np.tril_indices(dim, -1)] = rng.standard_normal(dim * (dim - 1) // 2)
    root = np.linalg.cholesky(scale) @ lower
    made: _Doubles = root @ root.T
    return made
