"""Collective operations of data-parallel training: each worker computes a share of every step.

All workers have the same variables and run the same steps, because their random numbers are the
same; in each step all apply the same sum of gradients. Values that decide whether another step
follows are averaged over the workers, so that no worker waits for a step that another one skips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import tensorflow as tf

from recsys.errors import TransientError

_LOST_WORKER_ERRORS: Final = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class WorkerGroup(Protocol):
    """All workers of a training, from the perspective of one of them.

    Attributes:
        index: index of this worker, from 0.
        count: number of workers.
    """

    index: int
    count: int

    def replicate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns ``function``, to be run by all workers; it may call the next two methods."""

    def global_mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this worker's summand of the mean of all workers' values over the first axis."""

    def all_reduce_sum(self, parts: Sequence[Any]) -> list[Any]:
        """Sums tensors and sparse gradients over the workers."""

    def all_reduce_mean(self, value: float) -> float:
        """Returns the mean of the workers' values, outside of a replicated function."""


class _SingleWorker:
    index = 0
    count = 1

    def replicate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def global_mean(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(values, 0)

    def all_reduce_sum(self, parts: Sequence[Any]) -> list[Any]:
        return list(parts)

    def all_reduce_mean(self, value: float) -> float:
        return value


SINGLE_WORKER: Final[WorkerGroup] = _SingleWorker()
"""Training in a single process."""


class MultiWorkerGroup:
    """The workers that ``TF_CONFIG`` names; the constructor waits until all of them are up.

    Args:
        index: index of this worker, from 0.
        count: number of workers.
    """

    def __init__(self, index: int, count: int) -> None:
        self.index, self.count = index, count
        # RING: all workers get bit-identical sums.
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                implementation=tf.distribute.experimental.CommunicationImplementation.RING
            )
        )
        self._sum_value = tf.function(self.replicate(self.all_reduce_sum), autograph=False)

    def replicate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """See `WorkerGroup`."""

        def replicated(*arguments: Any) -> Any:
            return self._strategy.run(function, args=arguments)

        return replicated

    def global_mean(self, values: tf.Tensor) -> tf.Tensor:
        """See `WorkerGroup`."""
        [rows] = self.all_reduce_sum([tf.cast(tf.shape(values)[0], tf.float32)])
        return tf.reduce_sum(values, 0) / rows

    def all_reduce_sum(self, parts: Sequence[Any]) -> list[Any]:
        """See `WorkerGroup`."""
        replica = tf.distribute.get_replica_context()
        # A tensor made outside of the replica has no device; identity copies it to the replica's.
        return [
            replica.all_reduce(
                tf.distribute.ReduceOp.SUM,
                part if isinstance(part, tf.IndexedSlices) else tf.identity(part),
            )
            for part in parts
        ]

    def all_reduce_mean(self, value: float) -> float:
        """See `WorkerGroup`."""
        return float(self._sum_value([tf.constant(value, tf.float64)])[0]) / self.count


@contextmanager
def lost_worker_is_transient() -> Iterator[None]:
    """Translates TensorFlow's errors about a lost worker, within this block.

    Raises:
        TransientError: another worker no longer responds.
    """
    try:
        yield
    except _LOST_WORKER_ERRORS as error:
        raise TransientError(
            "another worker of this training was lost",
            found=str(error.message).splitlines()[0],
            hint="see that worker's log; the next attempt resumes from the last checkpoint",
        ) from error
