"""The ranking model: what a user watches next, as two towers that meet in an inner product.

At a moment in a user's history, with m_1 the newest movie before it and s_k the stars given,

    user tower   u = own + sum_k w_k (h_mk + V c_mk) / (sum_k w_k + 0.3),
                 w_k = exp(recency_k + liking(s_k)), k = 1..history
    movie tower  v_i = q_i + W c_i, with a bias b_i
    loss         cross entropy of softmax(u . v_i + b_i) with the next ``horizon`` movies,
                 the liked ones weighted up

(two towers under a softmax over the catalogue: Covington et al., "Deep neural networks for
YouTube recommendations", RecSys 2016; sampled, with the correction by log of the expected count,
after Jean et al., ACL 2015, where the catalogue is large). Stars alone rank badly: what people
watch next says more than what they would rate high.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recsys.contract import TOWER_DIM
from recsys.errors import TrainingError
from trainer.config import RankingConfig
from trainer.data import Floats, Ints, Ratings
from trainer.progress import EpochRecord, OnEpoch
from trainer.towers import BIAS, SPARE_DIMS, Towers, equally_long

_LATENT_DIM: Final = TOWER_DIM - SPARE_DIMS
_INITIAL_SCALE: Final = 0.3
_RECENCY_SCALE: Final = 10.0
_SHRINKAGE: Final = 0.3
_STAR_STEPS: Final = 10
_CHUNK: Final = 8192


@dataclass(frozen=True)
class _Moments:
    """Moments of users' histories.

    Attributes:
        user: shape (n,).
        history: movies before it, newest first; the number of movies where there are none left,
            shape (n, history).
        level: stars of these in half stars less one, 0..9, shape (n, history).
        next: movies after it, shape (n, horizon).
        weight: of each of ``next``, 0 where there is none, summing to 1, shape (n, horizon).
    """

    user: Ints
    history: Ints
    level: Ints
    next: Ints
    weight: Floats


def fit_towers(
    ratings: Ratings, config: RankingConfig, rng: np.random.Generator, on_epoch: OnEpoch
) -> Towers:
    """Trains the ranking model and exports it as towers of all users and movies.

    Args:
        ratings: what it is fitted to.
        config: how.
        rng: the same state gives the same towers on the same machine.
        on_epoch: told after each epoch.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    starts = _starts(ratings, config.stride, rng)
    model = _RankingModel(ratings, config, rng, steps=-(-len(starts) // config.batch_size))
    for epoch in range(1, config.epochs + 1):
        started = time.monotonic()
        order = rng.permutation(starts)
        losses = [
            model.step(_moments(ratings, rows, config), rng)
            for rows in np.array_split(order, -(-len(order) // config.batch_size))
        ]
        loss = float(tf.reduce_mean(tf.stack(losses)))
        if not np.isfinite(loss):
            raise TrainingError(
                f"training diverged in epoch {epoch} of the ranking model",
                found=f"loss {loss}",
                hint="lower ranking.learning_rate",
            )
        on_epoch(EpochRecord("ranking", epoch, loss, None, time.monotonic() - started))
    return model.towers()


class _RankingModel:
    """The variables of both towers and the step that trains them."""

    def __init__(
        self, ratings: Ratings, config: RankingConfig, rng: np.random.Generator, steps: int
    ) -> None:
        self._ratings = ratings
        self._config = config
        movies, features = ratings.content.shape
        popularity = np.bincount(ratings.movie, minlength=movies)
        # Unit length, so that a movie of many genres is not pushed further than one of few.
        norm = np.sqrt(np.maximum(ratings.content.sum(axis=1, keepdims=True), 1))
        self._content = tf.constant(ratings.content / norm)
        self._sampler = (
            _Sampler(popularity, config.negatives) if movies > config.full_softmax_movies else None
        )

        def start(rows: int) -> NDArray[np.float64]:
            return rng.normal(0.0, _INITIAL_SCALE / np.sqrt(_LATENT_DIM), (rows, _LATENT_DIM))

        tables = {
            "user": np.zeros((len(ratings.user_ids), _LATENT_DIM)),
            "movie": start(movies),
            "movie_content": start(features),
            "history": start(movies),
            "history_content": start(features),
            "bias": np.log(popularity + 1.0),
            "recency": -np.arange(config.history) / _RECENCY_SCALE,
            "liking": np.zeros(_STAR_STEPS),
        }
        self._variables = {
            name: keras.Variable(value, dtype="float32", name=name)
            for name, value in tables.items()
        }
        self._optimizer = keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                config.learning_rate, decay_steps=config.epochs * steps
            ),
            weight_decay=config.weight_decay,
        )
        self._optimizer.exclude_from_weight_decay(
            [self._variables[name] for name in ("bias", "recency", "liking")]
        )
        self._optimizer.build(list(self._variables.values()))
        self._step = tf.function(
            self._train,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                *[tf.TensorSpec([None, config.history], tf.int32)] * 2,
                tf.TensorSpec([None, config.horizon], tf.int32),
                tf.TensorSpec([None, config.horizon], tf.float32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None], tf.float32),
            ],
        )

    def step(self, moments: _Moments, rng: np.random.Generator) -> tf.Tensor:
        """One step of AdamW; the mean cross entropy of these moments before it."""
        drawn, log_expected = self._sampler.draw(rng) if self._sampler else _NOTHING_DRAWN
        return self._step(
            moments.user,
            moments.history,
            moments.level,
            moments.next,
            moments.weight,
            drawn,
            log_expected,
        )

    def _train(
        self,
        user: tf.Tensor,
        history: tf.Tensor,
        level: tf.Tensor,
        following: tf.Tensor,
        weight: tf.Tensor,
        drawn: tf.Tensor,
        log_expected: tf.Tensor,
    ) -> tf.Tensor:
        variables = list(self._variables.values())
        with tf.GradientTape() as tape:
            users = self._user_vectors(user, history, level)
            movies, bias = self._movie_vectors(), self._variables["bias"].value
            score = tf.reduce_sum(users[:, None] * tf.gather(movies, following), axis=2)
            score += tf.gather(bias, following)
            if self._sampler is None:
                total = tf.reduce_logsumexp(
                    tf.matmul(users, movies, transpose_b=True) + bias, axis=1, keepdims=True
                )
            else:
                others = tf.matmul(users, tf.gather(movies, drawn), transpose_b=True)
                others += tf.gather(bias, drawn) - log_expected
                total = tf.reduce_logsumexp(others, axis=1, keepdims=True)
                # With the movie itself in the sum the loss stays bounded whatever was drawn.
                total = tf.math.softplus(score - total) + total
            loss = tf.reduce_mean(tf.reduce_sum(weight * (total - score), axis=1))
        gradients = tape.gradient(loss, [v.value for v in variables])
        self._optimizer.apply([tf.convert_to_tensor(g) for g in gradients])
        return loss

    def _user_vectors(self, user: tf.Tensor, history: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
        table = {name: variable.value for name, variable in self._variables.items()}
        movies = table["history"] + self._content @ table["history_content"]
        none = tf.zeros((1, _LATENT_DIM))
        watched = tf.gather(tf.concat([movies, none], axis=0), history)
        weight = tf.exp(table["recency"] + tf.gather(table["liking"], level))
        weight *= tf.cast(history < len(self._ratings.movie_ids), tf.float32)
        weight /= tf.reduce_sum(weight, axis=1, keepdims=True) + _SHRINKAGE
        return tf.gather(table["user"], user) + tf.einsum("nk,nkd->nd", weight, watched)

    def _movie_vectors(self) -> tf.Tensor:
        content = self._content @ self._variables["movie_content"].value
        return self._variables["movie"].value + content

    def towers(self) -> Towers:
        """Both towers, the users' as of their newest interactions, biases folded in."""
        ratings = self._ratings
        users = np.zeros((len(ratings.user_ids), TOWER_DIM), np.float32)
        users[:, BIAS] = 1.0
        for chosen in np.array_split(np.arange(len(users)), len(users) // _CHUNK + 1):
            history, level = _history(
                ratings, chosen, ratings.user_start[chosen + 1], self._config.history
            )
            vectors = self._user_vectors(chosen.astype(np.int32), history, level)
            users[chosen, :-SPARE_DIMS] = vectors.numpy()
        movies = np.zeros((len(ratings.movie_ids), TOWER_DIM), np.float32)
        movies[:, :-SPARE_DIMS] = self._movie_vectors().numpy()
        movies[:, BIAS] = self._variables["bias"].value.numpy()
        return Towers(ratings.user_ids, ratings.movie_ids, users, equally_long(movies))


class _Sampler:
    """Draws movies for a sampled softmax: mostly by popularity, some uniformly."""

    _UNIFORM_SHARE: Final = 0.3
    _FLATTENING: Final = 0.75

    def __init__(self, popularity: NDArray[np.int64], size: int) -> None:
        flat = popularity**self._FLATTENING
        chance = (1 - self._UNIFORM_SHARE) * flat / flat.sum()
        chance += self._UNIFORM_SHARE / len(popularity)
        self._size = size
        self._cumulative = np.cumsum(chance)
        self._log_expected = np.log(chance * size).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Movies, and the log of how often each was to be expected, shapes (size,)."""
        drawn = np.searchsorted(self._cumulative, rng.random(self._size) * self._cumulative[-1])
        return drawn.astype(np.int32), self._log_expected[drawn]


_NOTHING_DRAWN: Final = (np.zeros(0, np.int32), np.zeros(0, np.float32))


def _starts(ratings: Ratings, stride: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Interactions at which moments begin: each user's every ``stride``-th, from a random one on.

    A user with fewer interactions than ``stride`` may have none.
    """
    place = np.arange(len(ratings)) - ratings.user_start[ratings.user]
    offset = rng.integers(0, stride, len(ratings.user_ids))
    # At least one moment for each user, however short the history.
    offset = np.minimum(offset, ratings.user_count - 1)
    return np.flatnonzero((place - offset[ratings.user]) % stride == 0)


def _moments(ratings: Ratings, rows: NDArray[np.int64], config: RankingConfig) -> _Moments:
    """The moments just before these interactions."""
    user = ratings.user[rows]
    history, level = _history(ratings, user, rows, config.history)
    ahead = rows[:, None] + np.arange(config.horizon)
    there = ahead < ratings.user_start[user + 1][:, None]
    ahead = np.minimum(ahead, len(ratings) - 1)
    liked = ratings.stars[ahead] >= config.liked_stars
    weight = np.where(there, np.where(liked, config.liked_weight, 1.0), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    return _Moments(user, history, level, ratings.movie[ahead], weight.astype(np.float32))


def _history(
    ratings: Ratings, user: NDArray[np.integer], before: NDArray[np.int64], length: int
) -> tuple[Ints, Ints]:
    """Movies and star levels of the interactions before row ``before`` of each user."""
    rows = before[:, None] - 1 - np.arange(length)
    there = rows >= ratings.user_start[user][:, None]
    rows = np.maximum(rows, 0)
    movie = np.where(there, ratings.movie[rows], len(ratings.movie_ids))
    level = np.clip(np.rint(ratings.stars[rows] * 2) - 1, 0, _STAR_STEPS - 1)
    return movie.astype(np.int32), level.astype(np.int32)
