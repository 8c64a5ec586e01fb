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

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recsys.errors import TrainingError
from trainer.config import RatingConfig
from trainer.data import Floats, Ints, Ratings
from trainer.folding import FoldedRating
from trainer.progress import EpochRecord, OnEpoch

_INITIAL_SCALE: Final = 0.05
_BETA_2: Final = 0.99
_STEPS_PER_EPOCH: Final = 12
_BATCH_LIMITS: Final = (64, 131_072)
_BIAS_ROUNDS: Final = 8


@dataclass(frozen=True)
class _Batch:
    """One step: users, all their interactions, and those of them that are to be predicted.

    Attributes:
        users: indices of users, shape (users of the batch,).
        rows: all interactions of these users, user by user.
        row_user: for each of ``rows`` the place of its user in ``users``, ascending.
        targets: the interactions to be predicted.
        target_user: for each of ``targets`` the place of its user in ``users``.
    """

    users: Ints
    rows: Ints
    row_user: Ints
    targets: Ints
    target_user: Ints


def fit_rating_model(
    ratings: Ratings,
    config: RatingConfig,
    rng: np.random.Generator,
    on_epoch: OnEpoch,
    validation: Ratings | None = None,
) -> FoldedRating:
    """Trains the rating model.

    Args:
        ratings: what it is fitted to.
        config: how.
        rng: the same state gives the same model on the same machine.
        on_epoch: told after each epoch.
        validation: pairs that nothing but the recorded validation RMSE sees.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    members = _Members(ratings, config, rng)
    for epoch in range(1, config.epochs + 1):
        started = time.monotonic()
        losses = [members.step(batch) for batch in _batches(ratings, config, rng)]
        loss = float(tf.reduce_mean(tf.stack(losses)))
        if not np.isfinite(loss):
            raise TrainingError(
                f"training diverged in epoch {epoch} of the rating model",
                found=f"loss {loss}",
                hint="lower rating.learning_rate",
            )
        on_epoch(
            EpochRecord(
                model="rating",
                epoch=epoch,
                loss=loss,
                validation_rmse=_rmse(members.folded(), validation) if validation else None,
                seconds=time.monotonic() - started,
            )
        )
    return members.folded().compressed(config.export_dim)


class _Members:
    """The variables of all members side by side, and the step that trains them.

    Tables of factors have ``members x factors`` columns, those of biases one for each member.
    """

    def __init__(self, ratings: Ratings, config: RatingConfig, rng: np.random.Generator) -> None:
        self._ratings = ratings
        self._config = config
        users, movies = len(ratings.user_ids), len(ratings.movie_ids)
        features, wide = ratings.content.shape[1], config.members * config.factors
        self._mean, user_bias, movie_bias = _biases(ratings, config.bias_penalty)
        residual = ratings.stars - self._mean
        residual -= user_bias[ratings.user] + movie_bias[ratings.movie]

        self._movie = tf.constant(ratings.movie)
        self._stars = tf.constant(ratings.stars)
        self._residual = tf.constant(residual[:, None])
        self._count = tf.constant(ratings.user_count.astype(np.float32)[:, None])
        self._content = tf.constant(ratings.content)

        def start(rows: int) -> Floats:
            return rng.normal(0.0, _INITIAL_SCALE, (rows, wide)).astype(np.float32)

        tables = {
            "user": (start(users), config.factor_penalty),
            "movie": (start(movies), config.factor_penalty),
            "content": (np.zeros((features, wide)), config.factor_penalty),
            "implicit": (np.zeros((movies, wide)), config.history_penalty),
            "explicit": (np.zeros((movies, wide)), config.history_penalty),
            "user_bias": (_repeat(user_bias, config.members), config.bias_penalty),
            "movie_bias": (_repeat(movie_bias, config.members), config.bias_penalty),
            "content_bias": (np.zeros((features, config.members)), config.bias_penalty),
        }
        self._variables = {
            name: keras.Variable(value, dtype="float32", name=name)
            for name, (value, _) in tables.items()
        }
        self._penalty = {name: penalty / len(ratings) for name, (_, penalty) in tables.items()}
        self._optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(
                config.learning_rate, decay_steps=config.epochs * _steps(ratings, config)
            ),
            beta_2=_BETA_2,
        )
        self._optimizer.build(list(self._variables.values()))
        vector = tf.TensorSpec([None], tf.int32)
        self._step = tf.function(self._train, input_signature=[vector] * 5)

    def step(self, batch: _Batch) -> tf.Tensor:
        """One step of Adam; the mean squared error of the batch's targets before it."""
        return self._step(batch.users, batch.rows, batch.row_user, batch.targets, batch.target_user)

    def _train(
        self,
        users: tf.Tensor,
        rows: tf.Tensor,
        row_user: tf.Tensor,
        targets: tf.Tensor,
        target_user: tf.Tensor,
    ) -> tf.Tensor:
        table = {name: variable.value for name, variable in self._variables.items()}
        with tf.GradientTape() as tape:
            left = self._history(table, rows, row_user)
            movie = tf.gather(self._movie, targets)
            own = tf.gather(table["implicit"], movie)
            own += tf.gather(table["explicit"], movie) * tf.gather(self._residual, targets)
            others = tf.maximum(tf.gather(self._count, users) - 1.0, 1.0)
            user = tf.gather(table["user"], users)
            user_vector = tf.gather(user + left * tf.math.rsqrt(others), target_user)
            user_vector -= own * tf.gather(tf.math.rsqrt(others), target_user)

            content = tf.gather(self._content, movie)
            movie_vector = tf.gather(table["movie"], movie) + content @ table["content"]
            stars = self._mean + content @ table["content_bias"]
            stars += tf.gather(tf.gather(table["user_bias"], users), target_user)
            stars += tf.gather(table["movie_bias"], movie)
            stars += tf.reduce_sum(
                tf.reshape(
                    user_vector * movie_vector, (-1, self._config.members, self._config.factors)
                ),
                axis=2,
            )
            error = tf.reduce_mean(tf.square(stars - tf.gather(self._stars, targets)[:, None]), 0)
            # Summed, not averaged, over the members: each is trained as if it were alone.
            loss = tf.reduce_sum(error)
            for name, value in table.items():
                loss += self._penalty[name] * tf.reduce_sum(tf.square(value))
        gradients = tape.gradient(loss, list(table.values()))
        self._optimizer.apply([tf.convert_to_tensor(g) for g in gradients])
        return tf.reduce_mean(error)

    def _history(self, table: dict[str, Any], rows: tf.Tensor, row_user: tf.Tensor) -> tf.Tensor:
        """Sum of y_j + e_uj x_j over each user's interactions, (users of the batch, columns)."""
        movie = tf.gather(self._movie, rows)
        of_row = tf.gather(table["implicit"], movie)
        of_row += tf.gather(table["explicit"], movie) * tf.gather(self._residual, rows)
        return tf.math.segment_sum(of_row, row_user)

    def folded(self) -> FoldedRating:
        """The average of the members as one vector and one bias for each user and movie."""
        table = {name: variable.value for name, variable in self._variables.items()}
        ratings, members = self._ratings, self._config.members
        user_vectors = table["user"].numpy()
        for batch in _groups(np.arange(len(ratings.user_ids)), ratings, self._config.group_size):
            history = self._history(table, batch.rows, batch.row_user).numpy()
            user_vectors[batch.users] += history / np.sqrt(ratings.user_count[batch.users, None])
        movie_vectors = (table["movie"] + self._content @ table["content"]).numpy()
        movie_bias = (table["movie_bias"] + self._content @ table["content_bias"]).numpy()
        return FoldedRating(
            user_ids=ratings.user_ids,
            movie_ids=ratings.movie_ids,
            user_vectors=(user_vectors / members).astype(np.float32),
            movie_vectors=movie_vectors,
            user_bias=(self._mean + table["user_bias"].numpy().mean(axis=1)).astype(np.float32),
            movie_bias=movie_bias.mean(axis=1),
        )


def _batches(ratings: Ratings, config: RatingConfig, rng: np.random.Generator) -> Iterator[_Batch]:
    """One epoch: every interaction is a target once.

    Users are dealt into groups whose interactions fit in memory; the targets of one step are
    drawn from one group, whose histories need to be summed only once a step.
    """
    size = _batch_size(ratings, config)
    users = rng.permutation(len(ratings.user_ids))
    for group in _groups(users, ratings, config.group_size):
        order = rng.permutation(len(group.rows))
        # Equal steps: a short last one would be all noise.
        for chosen in np.array_split(order, -(-len(order) // size)):
            yield _Batch(
                users=group.users,
                rows=group.rows,
                row_user=group.row_user,
                targets=group.rows[chosen],
                target_user=group.row_user[chosen],
            )


def _groups(users: NDArray[np.int64], ratings: Ratings, size: int) -> Iterator[_Batch]:
    """All interactions of these users, in groups of about ``size``, each a batch of its own."""
    count = ratings.user_count[users]
    groups = -(-int(count.sum()) // size)
    group = (np.cumsum(count) - count) * groups // count.sum()
    for number in range(groups):
        members = np.sort(users[group == number])
        if len(members) == 0:
            continue
        lengths = ratings.user_count[members]
        offset = np.cumsum(lengths) - lengths
        row_user = np.repeat(np.arange(len(members)), lengths)
        rows = np.arange(lengths.sum()) + (ratings.user_start[members] - offset)[row_user]
        all_rows, all_users = rows.astype(np.int32), row_user.astype(np.int32)
        yield _Batch(members.astype(np.int32), all_rows, all_users, all_rows, all_users)


def _batch_size(ratings: Ratings, config: RatingConfig) -> int:
    low, high = _BATCH_LIMITS
    return config.batch_size or min(max(-(-len(ratings) // _STEPS_PER_EPOCH), low), high)


def _steps(ratings: Ratings, config: RatingConfig) -> int:
    """Steps of one epoch, to within the groups' remainders."""
    return -(-len(ratings) // _batch_size(ratings, config))


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


def _repeat(column: Floats, times: int) -> Floats:
    return np.repeat(column[:, None], times, axis=1)


def _rmse(folded: FoldedRating, asked: Ratings) -> float:
    stars = folded.predict(asked.user_ids[asked.user], asked.movie_ids[asked.movie])
    return float(np.sqrt(np.mean(np.square(stars - asked.stars))))
