"""The rating model: an ensemble of factor models with biases, content and history.

For a user u who rated the n movies N(u), a member of the ensemble predicts

    stars = mean + b_u + b_i + w.c_i + p'_u . (q_i + W c_i)
    p'_u  = p_u + (sum over j in N(u) of y_j + e_uj x_j) / sqrt(n)

with c_i the content of movie i and e_uj the residual of a plain bias model. y is the implicit
feedback of SVD++ (Koren, "Factorization meets the neighborhood", KDD 2008, section 4), x its
explicit counterpart; the rating to predict is excluded from both. Members differ only in their
random initialization, and are averaged. The L2 penalty applies once to each row of a table,
regardless of how often the row occurs. For serving, `RatingMembers.fold` reduces the ensemble to
one vector and one bias for each user and movie, without a change of its predictions. With few
ratings, `trainer.default_architecture` averages it with the samples of `trainer.rating.gibbs`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.config import RatingConfig
from trainer.data import Floats, Ratings
from trainer.distributed.collectives import SINGLE_WORKER, WorkerGroup
from trainer.rating.batches import Batch, steps_per_epoch, user_groups, worker_share
from trainer.rating.folded import FoldedRating
from trainer.rating.history import sums_on_device, sums_on_host

_INITIAL_SCALE: Final = 0.05
_BETA_1: Final = 0.9
_BETA_2: Final = 0.99
_EPSILON: Final = 1e-7
_BIAS_ROUNDS: Final = 8


class RatingMembers:
    """The variables of all members, and their training step.

    Tables of factors have ``members * factors`` columns, tables of biases one for each member.
    """

    def __init__(
        self,
        ratings: Ratings,
        config: RatingConfig,
        rng: np.random.Generator,
        workers: WorkerGroup = SINGLE_WORKER,
    ) -> None:
        self._ratings = ratings
        self._workers = workers
        self._config = config
        self._members, self._factors = config.size(len(ratings))
        self._product_dtype = _product_type(config)
        self._sums = sums_on_device if tf.config.list_physical_devices("GPU") else sums_on_host
        users, movies = len(ratings.user_ids), len(ratings.movie_ids)
        features, wide = ratings.content.shape[1], self._members * self._factors
        self._mean, user_bias, movie_bias = _biases(ratings, config.bias_penalty)
        residual = ratings.stars - self._mean
        residual -= user_bias[ratings.user] + movie_bias[ratings.movie]

        self._movie = tf.constant(ratings.movie)
        self._stars = tf.constant(ratings.stars)
        self._residual = tf.constant(residual)
        self._count = tf.constant(ratings.user_count.astype(np.float32)[:, None])
        self._weight = tf.constant(recency_weights(ratings, config.recency)[:, None])
        self._content = tf.constant(ratings.content)

        def initial(rows: int) -> Floats:
            return rng.normal(0.0, _INITIAL_SCALE, (rows, wide)).astype(np.float32)

        tables = {
            "user": (initial(users), config.factor_penalty),
            "movie": (initial(movies), config.factor_penalty),
            "content": (np.zeros((features, wide)), config.factor_penalty),
            "implicit": (np.zeros((movies, wide)), config.history_penalty),
            "explicit": (np.zeros((movies, wide)), config.history_penalty),
            "user_bias": (_repeat(user_bias, self._members), config.bias_penalty),
            "movie_bias": (_repeat(movie_bias, self._members), config.bias_penalty),
            "content_bias": (np.zeros((features, self._members)), config.bias_penalty),
        }
        self._tables = {
            name: tf.Variable(value, dtype=tf.float32, name=name)
            for name, (value, _) in tables.items()
        }
        # Each worker adds its share of the penalty; the gradients are then summed over workers.
        rows = len(ratings) * workers.count
        self._penalty = {name: penalty / rows for name, (_, penalty) in tables.items()}
        self._moments = {
            name: (tf.Variable(tf.zeros_like(table)), tf.Variable(tf.zeros_like(table)))
            for name, table in self._tables.items()
        }
        self._steps = 0
        self._last_step = config.epochs * steps_per_epoch(len(ratings), config)
        vector, number = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.float32)
        # Without AutoGraph, because no tensor decides a branch: tracing takes a third less time.
        self._step = tf.function(
            self._train, input_signature=[vector] * 5 + [number] * 3, autograph=False
        )

    def step(self, batch: Batch) -> tf.Tensor:
        """Runs one step of Adam; returns the mean squared error of its targets before it."""
        if self._workers.count > 1:
            batch = worker_share(batch, self._workers.index, self._workers.count)
        progress = min(self._steps / self._last_step, 1.0)
        self._steps += 1
        return self._step(
            batch.users,
            batch.rows,
            batch.row_user,
            batch.targets,
            batch.target_user,
            self._config.learning_rate * (1 + math.cos(math.pi * progress)) / 2,
            _BETA_1**self._steps,
            _BETA_2**self._steps,
        )

    def _train(
        self,
        users: tf.Tensor,
        rows: tf.Tensor,
        row_user: tf.Tensor,
        targets: tf.Tensor,
        target_user: tf.Tensor,
        learning_rate: tf.Tensor,
        beta_1_power: tf.Tensor,
        beta_2_power: tf.Tensor,
    ) -> tf.Tensor:
        batch = (users, rows, row_user, targets, target_user)
        error, *gradients = self._workers.replicate(self._gradients)(*batch)
        for name, gradient in zip(self._tables, gradients, strict=True):
            first, second = self._moments[name]
            # The fused kernel passes over each table once; Keras' Adam takes ten passes.
            tf.raw_ops.ResourceApplyAdam(
                var=self._tables[name].handle,
                m=first.handle,
                v=second.handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=learning_rate,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient,
            )
        return error

    def _gradients(
        self,
        users: tf.Tensor,
        rows: tf.Tensor,
        row_user: tf.Tensor,
        targets: tf.Tensor,
        target_user: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Returns the mean squared error, and the gradient of each table."""
        table = {name: variable.read_value() for name, variable in self._tables.items()}
        with tf.GradientTape() as tape:
            tape.watch(list(table.values()))
            history = self._history(table, rows, row_user, tf.size(users))
            inverse_sqrt = tf.math.rsqrt(tf.maximum(tf.gather(self._count, users) - 1.0, 1.0))
            user = tf.gather(table["user"], users) + history * inverse_sqrt
            user_vector = tf.gather(user, target_user)
            # Exclude the rating to predict from the history.
            target_rows = tf.gather(rows, targets)
            own = self._of_row(table, target_rows)
            user_vector -= own * tf.gather(inverse_sqrt, target_user)

            movie = tf.gather(self._movie, target_rows)
            movie_vector = tf.gather(self._with_content(table, "movie", "content"), movie)
            stars = self._mean + tf.gather(tf.gather(table["user_bias"], users), target_user)
            stars += tf.gather(self._with_content(table, "movie_bias", "content_bias"), movie)
            product = tf.cast(user_vector, self._product_dtype) * tf.cast(
                movie_vector, self._product_dtype
            )
            stars += tf.reduce_sum(
                tf.reshape(tf.cast(product, tf.float32), (-1, self._members, self._factors)),
                axis=2,
            )
            observed = tf.gather(self._stars, target_rows)
            weight = tf.gather(self._weight, target_rows)
            error = self._workers.global_mean(weight * tf.square(stars - observed[:, None]))
            # Sum over the members: each one's gradient is that of training it alone.
            loss = tf.reduce_sum(error)
            for name, value in table.items():
                loss += self._penalty[name] * tf.reduce_sum(tf.square(value))
        gradients = tape.gradient(loss, table)
        dense = [tf.convert_to_tensor(gradients[name]) for name in self._tables]
        return self._workers.all_reduce_sum([tf.reduce_mean(error), *dense])

    def _of_row(self, table: dict[str, Any], rows: tf.Tensor) -> tf.Tensor:
        """Returns y_j + e_uj x_j for these interactions, (rows, columns)."""
        movie = tf.gather(self._movie, rows)
        explicit = tf.gather(table["explicit"], movie) * tf.gather(self._residual, rows)[:, None]
        return tf.gather(table["implicit"], movie) + explicit

    def _history(
        self, table: dict[str, Any], rows: tf.Tensor, row_user: tf.Tensor, users: tf.Tensor
    ) -> tf.Tensor:
        """Returns the sum of y_j + e_uj x_j over each user's interactions, (users, columns)."""
        return self._sums(
            table["implicit"],
            table["explicit"],
            tf.gather(self._movie, rows),
            tf.gather(self._residual, rows),
            row_user,
            users,
        )

    def _with_content(self, table: dict[str, Any], own: str, by_content: str) -> tf.Tensor:
        """Returns the rows of all movies: each one's own plus that of its content."""
        content = tf.cast(self._content, self._product_dtype)
        return table[own] + tf.cast(
            content @ tf.cast(table[by_content], self._product_dtype), tf.float32
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns all variables by name, Adam's moments included."""
        return {name: variable.numpy() for name, variable in self._variables().items()} | {
            "steps": np.array(self._steps)
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Sets all variables to what `arrays` returned."""
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self._steps = int(arrays["steps"])

    def _variables(self) -> dict[str, tf.Variable]:
        variables = {f"table/{name}": variable for name, variable in self._tables.items()}
        for name, (first, second) in self._moments.items():
            variables |= {f"first/{name}": first, f"second/{name}": second}
        return variables

    def fold(self) -> FoldedRating:
        """Folds the average of the members into one vector and bias for each user and movie."""
        table = {name: variable.read_value() for name, variable in self._tables.items()}
        ratings, members = self._ratings, self._members
        user_vectors = table["user"].numpy()
        for batch in user_groups(
            np.arange(len(ratings.user_ids)), ratings, self._config.group_size
        ):
            history = self._history(table, batch.rows, batch.row_user, len(batch.users)).numpy()
            user_vectors[batch.users] += history / np.sqrt(ratings.user_count[batch.users, None])
        movie_vectors = self._with_content(table, "movie", "content").numpy()
        movie_bias = self._with_content(table, "movie_bias", "content_bias").numpy()
        return FoldedRating(
            user_ids=ratings.user_ids,
            movie_ids=ratings.movie_ids,
            user_vectors=(user_vectors / members).astype(np.float32),
            movie_vectors=movie_vectors,
            user_bias=(self._mean + table["user_bias"].numpy().mean(axis=1)).astype(np.float32),
            movie_bias=movie_bias.mean(axis=1),
        )


def _product_type(config: RatingConfig) -> tf.DType:
    """Returns the data type that products are computed in."""
    on_gpu = config.precision == "auto" and tf.config.list_physical_devices("GPU")
    return tf.bfloat16 if on_gpu or config.precision == "bfloat16" else tf.float32


def _biases(ratings: Ratings, penalty: float) -> tuple[float, Floats, Floats]:
    """Computes the mean and the biases by alternating ridge regressions in closed form.

    Koren, "Factor in the neighbors", ACM TKDD 4, 2010, section 2.1.
    """
    mean = float(ratings.stars.mean())
    users, movies = len(ratings.user_ids), len(ratings.movie_ids)
    centered = ratings.stars.astype(np.float64) - mean
    user_bias, movie_bias = np.zeros(users), np.zeros(movies)
    movie_count = np.bincount(ratings.movie, minlength=movies)
    for _ in range(_BIAS_ROUNDS):
        rest = np.bincount(ratings.movie, centered - user_bias[ratings.user], movies)
        movie_bias = rest / np.maximum(movie_count + penalty, 1)
        rest = np.bincount(ratings.user, centered - movie_bias[ratings.movie], users)
        user_bias = rest / (ratings.user_count + penalty)
    return mean, user_bias.astype(np.float32), movie_bias.astype(np.float32)


def recency_weights(ratings: Ratings, recency: float) -> Floats:
    """Returns each rating's weight in the loss, larger for a user's newer ones; the mean is 1."""
    place = np.arange(1, len(ratings) + 1) - ratings.user_start[ratings.user]
    weight = np.exp(recency * (place / ratings.user_count[ratings.user] - 1)).astype(np.float32)
    weight /= weight.mean(dtype=np.float64)
    return weight


def _repeat(column: Floats, times: int) -> Floats:
    return np.repeat(column[:, None], times, axis=1)
