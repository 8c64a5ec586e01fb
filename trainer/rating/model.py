"""The rating model: factors, biases, content and history; trained rich, folded for serving.

For a user u who rated the movies N(u), n of them, a member of the model says

    stars = mean + b_u + b_i + w.c_i + p'_u . (q_i + W c_i)
    p'_u  = p_u + (sum over j in N(u) of y_j + e_uj x_j) / sqrt(n)

with c_i the content of movie i and e_uj the residual of a plain bias model. y is the implicit
feedback of SVD++ (Koren, "Factorization meets the neighborhood", KDD 2008, section 4), x its
explicit part; the rating to be predicted is left out of both. Members differ by their random
start only, and are averaged. The penalty is a constant for each row of a table, not for each
occurrence.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.config import RatingConfig
from trainer.data import Floats, Ratings
from trainer.distributed.workers import ALONE, Workers
from trainer.rating.batches import Batch, share, steps_per_epoch, user_groups
from trainer.rating.folded import FoldedRating

_INITIAL_SCALE: Final = 0.05
_BETA_1: Final = 0.9
_BETA_2: Final = 0.99
_EPSILON: Final = 1e-7
_BIAS_ROUNDS: Final = 8


class RatingMembers:
    """The variables of all members side by side, and the step that trains them.

    Tables of factors have ``members x factors`` columns, those of biases one for each member.
    """

    def __init__(
        self,
        ratings: Ratings,
        config: RatingConfig,
        rng: np.random.Generator,
        workers: Workers = ALONE,
    ) -> None:
        self._ratings = ratings
        self._workers = workers
        self._config = config
        self._members, self._factors = config.size(len(ratings))
        self._low = _product_type(config)
        users, movies = len(ratings.user_ids), len(ratings.movie_ids)
        features, wide = ratings.content.shape[1], self._members * self._factors
        self._mean, user_bias, movie_bias = _biases(ratings, config.bias_penalty)
        residual = ratings.stars - self._mean
        residual -= user_bias[ratings.user] + movie_bias[ratings.movie]

        self._movie = tf.constant(ratings.movie)
        self._stars = tf.constant(ratings.stars)
        self._residual = tf.constant(residual[:, None])
        self._count = tf.constant(ratings.user_count.astype(np.float32)[:, None])
        self._weight = tf.constant(_weights(ratings, config.recency)[:, None])
        self._content = tf.constant(ratings.content)

        def start(rows: int) -> Floats:
            return rng.normal(0.0, _INITIAL_SCALE, (rows, wide)).astype(np.float32)

        tables = {
            "user": (start(users), config.factor_penalty),
            "movie": (start(movies), config.factor_penalty),
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
        # Each worker adds its part of the penalty, too: so all sum up the same.
        rows = len(ratings) * workers.count
        self._penalty = {name: penalty / rows for name, (_, penalty) in tables.items()}
        self._moments = {
            name: (tf.Variable(tf.zeros_like(table)), tf.Variable(tf.zeros_like(table)))
            for name, table in self._tables.items()
        }
        self._steps = 0
        self._last_step = config.epochs * steps_per_epoch(len(ratings), config)
        vector, number = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.float32)
        self._step = tf.function(self._train, input_signature=[vector] * 5 + [number] * 3)

    def step(self, batch: Batch) -> tf.Tensor:
        """One step of Adam; the mean squared error of the batch's targets before it."""
        if self._workers.count > 1:
            batch = share(batch, self._workers.index, self._workers.count)
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
        error, *gradients = self._workers.each(self._slopes)(*batch)
        for name, gradient in zip(self._tables, gradients, strict=True):
            first, second = self._moments[name]
            # Keras' Adam says the same in ten passes over each table; this takes one.
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

    def _slopes(
        self,
        users: tf.Tensor,
        rows: tf.Tensor,
        row_user: tf.Tensor,
        targets: tf.Tensor,
        target_user: tf.Tensor,
    ) -> list[tf.Tensor]:
        """The mean squared error, and the gradient of each table."""
        table = {name: variable.read_value() for name, variable in self._tables.items()}
        with tf.GradientTape() as tape:
            tape.watch(list(table.values()))
            of_row = self._of_row(table, rows)
            sqrt = tf.math.rsqrt(tf.maximum(tf.gather(self._count, users) - 1.0, 1.0))
            user = tf.gather(table["user"], users) + tf.math.segment_sum(of_row, row_user) * sqrt
            user_vector = tf.gather(user, target_user)
            # The rating that is to be predicted must not be part of the history.
            user_vector -= tf.gather(of_row, targets) * tf.gather(sqrt, target_user)

            movie = tf.gather(tf.gather(self._movie, rows), targets)
            movie_vector = tf.gather(self._with_content(table, "movie", "content"), movie)
            stars = self._mean + tf.gather(tf.gather(table["user_bias"], users), target_user)
            stars += tf.gather(self._with_content(table, "movie_bias", "content_bias"), movie)
            product = tf.cast(user_vector, self._low) * tf.cast(movie_vector, self._low)
            stars += tf.reduce_sum(
                tf.reshape(tf.cast(product, tf.float32), (-1, self._members, self._factors)),
                axis=2,
            )
            given = tf.gather(tf.gather(self._stars, rows), targets)
            weight = tf.gather(tf.gather(self._weight, rows), targets)
            error = self._workers.mean(weight * tf.square(stars - given[:, None]))
            # Summed, not averaged, over the members: each is trained as if it were alone.
            loss = tf.reduce_sum(error)
            for name, value in table.items():
                loss += self._penalty[name] * tf.reduce_sum(tf.square(value))
        gradients = tape.gradient(loss, table)
        dense = [tf.convert_to_tensor(gradients[name]) for name in self._tables]
        return self._workers.total([tf.reduce_mean(error), *dense])

    def _of_row(self, table: dict[str, Any], rows: tf.Tensor) -> tf.Tensor:
        """y_j + e_uj x_j of these interactions, (rows, columns)."""
        movie = tf.gather(self._movie, rows)
        explicit = tf.gather(table["explicit"], movie) * tf.gather(self._residual, rows)
        return tf.gather(table["implicit"], movie) + explicit

    def _with_content(self, table: dict[str, Any], own: str, by_content: str) -> tf.Tensor:
        """Rows of all movies, each its own part and that of its content."""
        content = tf.cast(self._content, self._low)
        return table[own] + tf.cast(content @ tf.cast(table[by_content], self._low), tf.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All variables, Adam's moments too, by name."""
        return {name: variable.numpy() for name, variable in self._variables().items()} | {
            "steps": np.array(self._steps)
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Sets all variables to what `arrays` said."""
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self._steps = int(arrays["steps"])

    def _variables(self) -> dict[str, tf.Variable]:
        found = {f"table/{name}": variable for name, variable in self._tables.items()}
        for name, (first, second) in self._moments.items():
            found |= {f"first/{name}": first, f"second/{name}": second}
        return found

    def folded(self) -> FoldedRating:
        """The average of the members as one vector and one bias for each user and movie."""
        table = {name: variable.read_value() for name, variable in self._tables.items()}
        ratings, members = self._ratings, self._members
        user_vectors = table["user"].numpy()
        for batch in user_groups(
            np.arange(len(ratings.user_ids)), ratings, self._config.group_size
        ):
            of_row = self._of_row(table, batch.rows)
            history = tf.math.segment_sum(of_row, batch.row_user).numpy()
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
    """What products are computed in."""
    on_gpu = config.precision == "auto" and tf.config.list_physical_devices("GPU")
    return tf.bfloat16 if on_gpu or config.precision == "bfloat16" else tf.float32


def _biases(ratings: Ratings, penalty: float) -> tuple[float, Floats, Floats]:
    """Mean and biases of users and movies by alternating ridge regressions (closed form).

    Koren, "Factor in the neighbors", ACM TKDD 4, 2010, section 2.1.
    """
    mean = float(ratings.stars.mean())
    users, movies = len(ratings.user_ids), len(ratings.movie_ids)
    centred = ratings.stars.astype(np.float64) - mean
    user_bias, movie_bias = np.zeros(users), np.zeros(movies)
    movie_count = np.bincount(ratings.movie, minlength=movies)
    for _ in range(_BIAS_ROUNDS):
        rest = np.bincount(ratings.movie, centred - user_bias[ratings.user], movies)
        movie_bias = rest / np.maximum(movie_count + penalty, 1)
        rest = np.bincount(ratings.user, centred - movie_bias[ratings.movie], users)
        user_bias = rest / (ratings.user_count + penalty)
    return mean, user_bias.astype(np.float32), movie_bias.astype(np.float32)


def _weights(ratings: Ratings, recency: float) -> Floats:
    """What each rating weighs in the loss, 1 on average: tastes of today count most."""
    place = np.arange(1, len(ratings) + 1) - ratings.user_start[ratings.user]
    weight = np.exp(recency * (place / ratings.user_count[ratings.user] - 1)).astype(np.float32)
    weight /= weight.mean(dtype=np.float64)
    return weight


def _repeat(column: Floats, times: int) -> Floats:
    return np.repeat(column[:, None], times, axis=1)
