"""AdamW that updates only the rows of a table that a step uses."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf
from numpy.typing import NDArray


class SparseAdamTable:
    """A table of vectors trained by AdamW, of which a step updates only the rows that it used.

    Updating all of 200,000 users would take longer than the rest of a step. Adam's moments of a
    row are not decayed while the row is unused (like LazyAdam of TensorFlow Addons).
    """

    _BETA_1: Final = 0.9
    _BETA_2: Final = 0.999
    _EPSILON: Final = 1e-7

    def __init__(self, rows: int, dim: int, weight_decay: float) -> None:
        self._weight_decay = weight_decay
        self.rows, self._first, self._second = (
            tf.Variable(tf.zeros((rows, dim))) for _ in range(3)
        )
        self._steps = tf.Variable(0.0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the rows and Adam's state by name."""
        return {
            "rows": self.rows.numpy(),
            "first": self._first.numpy(),
            "second": self._second.numpy(),
            "steps": self._steps.numpy(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Sets the rows and Adam's state to what `arrays` returned, for the same rows."""
        self.rows.assign(arrays["rows"])
        self._first.assign(arrays["first"])
        self._second.assign(arrays["second"])
        self._steps.assign(arrays["steps"])

    def update(self, gradient: tf.IndexedSlices, rate: tf.Tensor) -> None:
        """Runs one step of AdamW with this learning rate."""
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
