"""The ranking model: what a user watches next, as two towers that meet in an inner product.

At a moment in a user's history, with m_1 the newest movie before it and s_k the stars given,

    user tower   u = own + sum_k w_k (h_mk + V c_mk) / (sum_k w_k + 0.3),
                 w_k = exp(recency_k + liking(s_k)), k = 1..history
    movie tower  v_i = q_i + W c_i, with a bias b_i
    loss         cross entropy of softmax(u . v_i + b_i) with the next ``horizon`` movies,
                 the liked ones and the nearer ones weighted up

(two towers under a softmax over the catalogue: Covington et al., "Deep neural networks for
YouTube recommendations", RecSys 2016; sampled, with the correction by log of the expected count,
after Jean et al., ACL 2015, where the catalogue is large). Stars alone rank badly: what people
watch next says more than what they would rate high.

The scores of `trainer.transitions` are added, which know what follows what but not what a user is
like, and the sum is cut to the dimension of the contract (`trainer.towers.joined`).
"""

from __future__ import annotations

import time
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recsys.contract import TOWER_DIM
from recsys.errors import TrainingError
from trainer.config import RankingConfig
from trainer.data import Floats, Ints, Ratings
from trainer.distributed.workers import ALONE, Workers
from trainer.progress import EpochRecord, OnEpoch
from trainer.ranking.moments import STAR_LEVELS, Moments, moments, newest_moments, starts
from trainer.ranking.towers import SPARE_DIMS, Towers, joined
from trainer.ranking.transitions import Transitions, fit_transitions

_LATENT_DIM: Final = TOWER_DIM - SPARE_DIMS
_INITIAL_SCALE: Final = 0.3
_RECENCY_SCALE: Final = 10.0
_SHRINKAGE: Final = 0.3
_CHUNK: Final = 8192
_BATCHES: Final = 100
_BATCH_SIZES: Final = (256, 4096)
_SPREAD_USERS: Final = 500
_TINY: Final = 1e-9


def fit_towers(
    ratings: Ratings,
    config: RankingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    workers: Workers = ALONE,
) -> Towers:
    """Trains the ranking model and exports it as towers of all users and movies.

    Args:
        ratings: what it is fitted to.
        config: how.
        rng: the same state gives the same towers on the same machine.
        on_epoch: told after each epoch.
        workers: who trains; all of them call this with the same arguments.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    for_transitions, rng = rng.spawn(2)
    transitions = fit_transitions(ratings, config, for_transitions)
    begins = starts(ratings, config.stride, rng)
    per_epoch = min(len(begins), config.moments)
    batch = config.batch_size or int(np.clip(per_epoch // _BATCHES, *_BATCH_SIZES))
    steps = -(-per_epoch // batch)
    model = _RankingModel(ratings, config, rng, steps, workers)
    for epoch in range(1, config.epochs + 1):
        started = time.monotonic()
        order = rng.permutation(begins)[:per_epoch]
        losses = [
            model.step(moments(ratings, rows[workers.index :: workers.count], config), rng)
            for rows in np.array_split(order, steps)
        ]
        loss = float(tf.reduce_mean(tf.stack(losses)))
        if not np.isfinite(loss):
            raise TrainingError(
                f"training diverged in epoch {epoch} of the ranking model",
                found=f"loss {loss}",
                hint="lower ranking.learning_rate",
            )
        on_epoch(EpochRecord("ranking", epoch, loss, None, time.monotonic() - started))
    return _towers(ratings, config, model, transitions)


def _towers(
    ratings: Ratings, config: RankingConfig, model: _RankingModel, transitions: Transitions
) -> Towers:
    """Both models' towers in one space, the users' as of their newest interactions."""
    movies, bias = model.movies()
    wide = np.zeros((len(ratings.user_ids), movies.shape[1] + config.transition_dim), np.float32)
    neural, linear = wide[:, : movies.shape[1]], wide[:, movies.shape[1] :]
    for chosen in np.array_split(np.arange(len(wide), dtype=np.int32), len(wide) // _CHUNK + 1):
        at = newest_moments(ratings, chosen, config)
        neural[chosen] = model.users(at)
        linear[chosen] = transitions.users(at)
    spread = _spread(neural, movies, bias)
    scale = config.transition_weight * spread / max(_spread(linear, transitions.after), _TINY)
    users, movies = joined(wide, np.hstack([movies, scale * transitions.after]), bias)
    return Towers(ratings.user_ids, ratings.movie_ids, users, movies)


def _spread(users: Floats, movies: Floats, bias: Floats | None = None) -> float:
    """How far apart a user's scores lie: their standard deviation, for some users, the mean."""
    some = users[:: len(users) // _SPREAD_USERS + 1]
    scores = some @ movies.T + (0 if bias is None else bias)
    return float(np.mean(scores.std(axis=1)))


class _RankingModel:
    """The variables of both towers and the step that trains them."""

    def __init__(
        self,
        ratings: Ratings,
        config: RankingConfig,
        rng: np.random.Generator,
        steps: int,
        workers: Workers,
    ) -> None:
        self._workers = workers
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
            "movie": start(movies),
            "movie_content": start(features),
            "history": start(movies),
            "history_content": start(features),
            "bias": np.log(popularity + 1.0),
            "recency": -np.arange(config.history) / _RECENCY_SCALE,
            "liking": np.zeros(STAR_LEVELS),
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
        self._users = _SparseTable(len(ratings.user_ids), config.weight_decay)
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

    def step(self, at: Moments, rng: np.random.Generator) -> tf.Tensor:
        """One step of AdamW; the mean cross entropy of these moments before it."""
        drawn, log_expected = self._sampler.draw(rng) if self._sampler else _NOTHING_DRAWN
        return self._step(
            at.user,
            at.history,
            at.level,
            at.next,
            at.weight,
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
        batch = (user, history, level, following, weight, drawn, log_expected)
        loss, *gradients, of_users = self._workers.each(self._slopes)(*batch)
        rate = tf.cast(self._optimizer.learning_rate, tf.float32)
        self._optimizer.apply(gradients)
        self._users.update(of_users, rate)
        return loss

    def _slopes(
        self,
        user: tf.Tensor,
        history: tf.Tensor,
        level: tf.Tensor,
        following: tf.Tensor,
        weight: tf.Tensor,
        drawn: tf.Tensor,
        log_expected: tf.Tensor,
    ) -> list[tf.Tensor]:
        """The mean cross entropy, the gradients of the tables, and that of the users' rows."""
        variables = [v.value for v in self._variables.values()]
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
            loss = self._workers.mean(tf.reduce_sum(weight * (total - score), axis=1))
        *gradients, of_users = tape.gradient(loss, [*variables, self._users.rows])
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return self._workers.total([loss, *dense, of_users])

    def _user_vectors(self, user: tf.Tensor, history: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
        table = {name: variable.value for name, variable in self._variables.items()}
        movies = table["history"] + self._content @ table["history_content"]
        none = tf.zeros((1, _LATENT_DIM))
        watched = tf.gather(tf.concat([movies, none], axis=0), history)
        weight = tf.exp(table["recency"] + tf.gather(table["liking"], level))
        weight *= tf.cast(history < len(self._ratings.movie_ids), tf.float32)
        weight /= tf.reduce_sum(weight, axis=1, keepdims=True) + _SHRINKAGE
        return tf.gather(self._users.rows, user) + tf.einsum("nk,nkd->nd", weight, watched)

    def _movie_vectors(self) -> tf.Tensor:
        content = self._content @ self._variables["movie_content"].value
        return self._variables["movie"].value + content

    def users(self, at: Moments) -> Floats:
        """User vectors at these moments, shape (n, dim)."""
        vectors: Floats = self._user_vectors(at.user, at.history, at.level).numpy()
        return vectors

    def movies(self) -> tuple[Floats, Floats]:
        """Movie vectors, shape (movies, dim), and biases."""
        return self._movie_vectors().numpy(), self._variables["bias"].value.numpy()


class _SparseTable:
    """A table of vectors under AdamW that touches only the rows of a step.

    A step over all of 200,000 users would take longer than all the rest. A row's moments stand
    still while it is not used (the lazy Adam of TensorFlow Addons).
    """

    _BETA_1: Final = 0.9
    _BETA_2: Final = 0.999
    _EPSILON: Final = 1e-7

    def __init__(self, rows: int, weight_decay: float) -> None:
        self._weight_decay = weight_decay
        self.rows, self._first, self._second = (
            tf.Variable(tf.zeros((rows, _LATENT_DIM))) for _ in range(3)
        )
        self._steps = tf.Variable(0.0)

    def update(self, gradient: tf.IndexedSlices, rate: tf.Tensor) -> None:
        """One step at this learning rate."""
        chosen, place = tf.unique(gradient.indices)
        slope = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(chosen))
        step = self._steps.assign_add(1.0)
        first = self._BETA_1 * tf.gather(self._first, chosen) + (1 - self._BETA_1) * slope
        second = self._BETA_2 * tf.gather(self._second, chosen)
        second += (1 - self._BETA_2) * tf.square(slope)
        self._first.scatter_update(tf.IndexedSlices(first, chosen))
        self._second.scatter_update(tf.IndexedSlices(second, chosen))
        change = first / (1 - self._BETA_1**step)
        change /= tf.sqrt(second / (1 - self._BETA_2**step)) + self._EPSILON
        change += self._weight_decay * tf.gather(self.rows, chosen)
        self.rows.scatter_sub(tf.IndexedSlices(rate * change, chosen))


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
