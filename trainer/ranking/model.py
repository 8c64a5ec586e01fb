"""The ranking model: a two-tower model that predicts the movies which a user rates next.

With m_1 the newest movie of a user's history, h and c its embedding and content, and s_k the stars,

    user tower   u = own + sum_k w_k (h_mk + V c_mk) / (sum_k w_k + 0.3),
                 w_k = exp(recency_k + liking(s_k)), k = 1..history
    movie tower  v_i = q_i + W c_i, with a bias b_i
    loss         cross entropy of softmax(u . v_i + b_i) with the next ``horizon`` movies,
                 the liked ones and the nearer ones weighted up

(two towers with a softmax over the catalog: Covington et al., "Deep neural networks for YouTube
recommendations", RecSys 2016; for a large catalog a sampled softmax, corrected by the log of the
expected count: Jean et al., ACL 2015). Ranking by predicted stars alone is poor: the movies that
users rate next are a better signal than the movies that they would rate high.

`trainer.ranking.fit` adds the scores of the item-to-item transition model, which models the order
of movies but not the user, and of EASE, and projects the sum to the contract's dimension.
"""

from __future__ import annotations

from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from recsys.contract import TOWER_DIM
from trainer.config import RankingConfig
from trainer.data import Floats, Ratings
from trainer.distributed.collectives import WorkerGroup
from trainer.ranking.examples import STAR_LEVELS, TrainingExamples
from trainer.ranking.sampled_softmax import NegativeSampler
from trainer.ranking.sparse_adam import SparseAdamTable
from trainer.ranking.towers import SPARE_DIMS
from trainer.warm_start import Arrays, WarmStart, take_rows

_LATENT_DIM: Final = TOWER_DIM - SPARE_DIMS
_INITIAL_SCALE: Final = 0.3
_RECENCY_SCALE: Final = 10.0
_SHRINKAGE: Final = 0.3
_NOTHING_DRAWN: Final = (np.zeros(0, np.int32), np.zeros(0, np.float32))


class RankingModel:
    """The variables of both towers and their training step."""

    def __init__(
        self,
        ratings: Ratings,
        config: RankingConfig,
        rng: np.random.Generator,
        steps: int,
        workers: WorkerGroup,
    ) -> None:
        self._workers = workers
        self._ratings = ratings
        self._config = config
        movies, features = ratings.content.shape
        popularity = np.bincount(ratings.movie, minlength=movies)
        self._log_popularity = np.log(popularity + 1.0)
        # Unit norm: otherwise the content of a movie with many genres would weigh more.
        norm = np.sqrt(np.maximum(ratings.content.sum(axis=1, keepdims=True), 1))
        self._content = tf.constant(ratings.content / norm)
        self._sampler = (
            NegativeSampler(popularity, config.negatives)
            if movies > config.full_softmax_movies
            else None
        )

        def initial(rows: int) -> NDArray[np.float64]:
            return rng.normal(0.0, _INITIAL_SCALE / np.sqrt(_LATENT_DIM), (rows, _LATENT_DIM))

        tables = {
            "movie": initial(movies),
            "movie_content": initial(features),
            "history": initial(movies),
            "history_content": initial(features),
            "bias": self._log_popularity,
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
        self._users = SparseAdamTable(len(ratings.user_ids), _LATENT_DIM, config.weight_decay)
        # Without AutoGraph: see `trainer.rating.model.RatingMembers`.
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
            autograph=False,
        )

    def step(self, examples: TrainingExamples, rng: np.random.Generator) -> tf.Tensor:
        """Runs one step of AdamW; returns the mean cross entropy of the examples before it."""
        drawn, log_expected = self._sampler.draw(rng) if self._sampler else _NOTHING_DRAWN
        return self._step(
            examples.user,
            examples.history,
            examples.level,
            examples.next,
            examples.weight,
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
        loss, *gradients, user_gradient = self._workers.replicate(self._gradients)(*batch)
        rate = tf.cast(self._optimizer.learning_rate, tf.float32)
        self._optimizer.apply(gradients)
        self._users.update(user_gradient, rate)
        return loss

    def _gradients(
        self,
        user: tf.Tensor,
        history: tf.Tensor,
        level: tf.Tensor,
        following: tf.Tensor,
        weight: tf.Tensor,
        drawn: tf.Tensor,
        log_expected: tf.Tensor,
    ) -> list[tf.Tensor]:
        """Returns the mean cross entropy, the tables' gradients, and that of the users' rows."""
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
                # Including the target in the sum bounds the loss, whichever movies were drawn.
                total = tf.math.softplus(score - total) + total
            loss = self._workers.global_mean(tf.reduce_sum(weight * (total - score), axis=1))
        *gradients, user_gradient = tape.gradient(loss, [*variables, self._users.rows])
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return self._workers.all_reduce_sum([loss, *dense, user_gradient])

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

    def arrays(self) -> Arrays:
        """Returns all variables by name, with the optimizers' state."""
        users = {f"user/{name}": array for name, array in self._users.arrays().items()}
        tables = {name: variable.numpy() for name, variable in self._variables.items()}
        return {**tables, **users, "log_popularity": self._log_popularity}

    def start_from(self, start: WarmStart) -> None:
        """Sets all variables to those of another fit, whose movies are the same.

        The biases of the movies, which begin as the logarithm of their popularity, follow its
        change. Other users keep their initial values.
        """
        found = dict(start.variables)
        found["bias"] = found["bias"] + self._log_popularity - found["log_popularity"]
        for name, variable in self._variables.items():
            variable.assign(found[name])
        users = self._users.arrays()
        by_user = {
            name: take_rows(
                found[f"user/{name}"], start.user_ids, self._ratings.user_ids, users[name]
            )
            for name in ("rows", "first", "second")
        }
        self._users.restore({**by_user, "steps": found["user/steps"]})

    def users(self, examples: TrainingExamples) -> Floats:
        """Returns the examples' user vectors, shape (n, dim)."""
        vectors: Floats = self._user_vectors(
            examples.user, examples.history, examples.level
        ).numpy()
        return vectors

    def movies(self) -> tuple[Floats, Floats]:
        """Returns movie vectors, shape (movies, dim), and biases, shape (movies,)."""
        return self._movie_vectors().numpy(), self._variables["bias"].value.numpy()
