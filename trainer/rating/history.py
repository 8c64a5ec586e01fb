"""Sums over the histories of users: the part of the rating model that reads every interaction.

For each user u, the sum over the interactions j of u of implicit[movie_j] + residual_j *
explicit[movie_j]. As a matrix this is B @ implicit + R @ explicit, with B (ones) and R (residuals)
sparse, users x movies.

TensorFlow's own operations first write a row for each interaction and then add the rows up. On a
CPU that costs 25 times the CPU time of SciPy's sparse product, which adds each row where it
belongs: 351 ms against 14 ms, forward and backward, for 90,000 interactions and 160 columns. On a
GPU the rows are cheap, and copying tables to the host is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from numpy.typing import NDArray

from trainer.data import Floats, Ints


def sums_on_host(
    implicit: tf.Tensor,
    explicit: tf.Tensor,
    movie: tf.Tensor,
    residual: tf.Tensor,
    row_user: tf.Tensor,
    users: tf.Tensor,
) -> tf.Tensor:
    """Computes the sums, and their gradients, by sparse products of SciPy.

    Args:
        implicit: shape (movies, columns).
        explicit: shape (movies, columns).
        movie: index of each interaction's movie, shape (rows,).
        residual: of each interaction, in stars, shape (rows,).
        row_user: index of each interaction's user, ascending, shape (rows,).
        users: number of users, int32.

    Returns:
        Shape (users, columns).
    """
    movies, columns = implicit.shape

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def sums(implicit: tf.Tensor, explicit: tf.Tensor) -> tuple[tf.Tensor, Any]:
        interactions = (movie, residual, row_user, users)
        total = tf.numpy_function(
            _sums, (implicit, explicit, *interactions), tf.float32, stateful=False
        )
        total.set_shape((None, columns))

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            gradients = tf.numpy_function(
                _gradients, (upstream, movies, *interactions), [tf.float32] * 2, stateful=False
            )
            for of_table in gradients:
                of_table.set_shape((movies, columns))
            return list(gradients)

        return total, gradient

    return sums(implicit, explicit)


def sums_on_device(
    implicit: tf.Tensor,
    explicit: tf.Tensor,
    movie: tf.Tensor,
    residual: tf.Tensor,
    row_user: tf.Tensor,
    users: tf.Tensor,
) -> tf.Tensor:
    """Computes the same with TensorFlow's operations, on the device of the tables."""
    of_row = tf.gather(implicit, movie) + tf.gather(explicit, movie) * residual[:, None]
    return tf.math.unsorted_segment_sum(of_row, row_user, users)


def _sums(
    implicit: Floats,
    explicit: Floats,
    movie: Ints,
    residual: Floats,
    row_user: Ints,
    users: NDArray[np.int32],
) -> Floats:
    counts, residuals = _matrices(len(implicit), movie, residual, row_user, int(users))
    total: Floats = counts @ implicit
    total += residuals @ explicit
    return total


def _gradients(
    upstream: Floats,
    movies: NDArray[np.int32],
    movie: Ints,
    residual: Floats,
    row_user: Ints,
    users: NDArray[np.int32],
) -> tuple[Floats, Floats]:
    counts, residuals = _matrices(int(movies), movie, residual, row_user, int(users))
    # By movies: twice as fast as adding each user's rows to those of the movies.
    return counts.T.tocsr() @ upstream, residuals.T.tocsr() @ upstream


def _matrices(
    movies: int, movie: Ints, residual: Floats, row_user: Ints, users: int
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Returns B and R, users x movies."""
    start = np.searchsorted(row_user, np.arange(users + 1)).astype(np.int32)
    shape = (users, movies)
    ones = np.ones(len(movie), np.float32)
    return (
        sp.csr_matrix((ones, movie, start), shape=shape),
        sp.csr_matrix((residual, movie, start), shape=shape),
    )
