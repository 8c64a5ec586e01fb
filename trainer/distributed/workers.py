"""Training on several machines: each worker takes its share of a step, gradients are summed.

All workers hold the same variables and walk through the same steps, because their random numbers
are the same; after each step all add the same sum of gradients. Anything that decides how to go
on is agreed upon, so that none waits for a step that another does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import tensorflow as tf

from recsys.errors import TransientError

_LOST: Final = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers(Protocol):
    """The workers of a training, as one of them sees them."""

    index: int
    count: int

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` as every worker runs it; `mean` and `total` are for use in it."""

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """This worker's part of the mean over the first axis of all workers' values."""

    def total(self, parts: Sequence[Any]) -> list[Any]:
        """Sums over the workers, of tensors and of sparse gradients."""

    def agreed(self, value: float) -> float:
        """One number for all: the mean of what each worker found."""


class _Alone:
    index = 0
    count = 1

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(values, 0)

    def total(self, parts: Sequence[Any]) -> list[Any]:
        return list(parts)

    def agreed(self, value: float) -> float:
        return value


ALONE: Final[Workers] = _Alone()
"""One process does it all."""


class Cluster:
    """The workers that ``TF_CONFIG`` names; all of them must be started.

    Args:
        index: of this one.
        count: of all.
    """

    def __init__(self, index: int, count: int) -> None:
        self.index, self.count = index, count
        # Ring: every worker is given the same bits.
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                implementation=tf.distribute.experimental.CommunicationImplementation.RING
            )
        )

    def each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """See `Workers`."""

        def replicated(*arguments: Any) -> Any:
            return self._strategy.run(function, args=arguments)

        return replicated

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """See `Workers`."""
        [rows] = self.total([tf.cast(tf.shape(values)[0], tf.float32)])
        return tf.reduce_sum(values, 0) / rows

    def total(self, parts: Sequence[Any]) -> list[Any]:
        """See `Workers`."""
        replica = tf.distribute.get_replica_context()
        # What was made outside of the replica has no device, and cannot be summed on it.
        return [
            replica.all_reduce(
                tf.distribute.ReduceOp.SUM,
                part if isinstance(part, tf.IndexedSlices) else tf.identity(part),
            )
            for part in parts
        ]

    def agreed(self, value: float) -> float:
        """See `Workers`."""
        summed = tf.function(self.each(self.total))([tf.constant(value, tf.float64)])
        return float(summed[0]) / self.count


@contextmanager
def losses_are_transient() -> Iterator[None]:
    """Within this block, a worker that dies is an error that another try may mend.

    Raises:
        TransientError: another worker does not answer any more.
    """
    try:
        yield
    except _LOST as error:
        raise TransientError(
            "another worker of this training was lost",
            found=str(error.message).splitlines()[0],
            hint="its own log tells why; the next try continues from the last checkpoint",
        ) from error
