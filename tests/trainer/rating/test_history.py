"""Both ways to add up the histories give what the dense matrices give, and the same gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from trainer.rating.history import sums_on_device, sums_on_host

USERS, MOVIES, COLUMNS = 5, 7, 3
ROW_USER = np.array([0, 0, 0, 1, 2, 2, 4, 4], np.int32)
"""The fourth user has no interaction."""
MOVIE = np.array([6, 0, 2, 0, 1, 6, 3, 0], np.int32)

Sums = Callable[..., tf.Tensor]


@pytest.fixture(scope="module")
def arrays() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    shapes = {
        "implicit": (MOVIES, COLUMNS),
        "explicit": (MOVIES, COLUMNS),
        "residual": (len(MOVIE),),
        "upstream": (USERS, COLUMNS),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def run(sums: Sums, arrays: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Returns the sums, and the gradients of both tables, from a compiled function."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def compiled(implicit: tf.Tensor, explicit: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([implicit, explicit])
            total = sums(
                implicit,
                explicit,
                tf.constant(MOVIE),
                tf.constant(arrays["residual"]),
                tf.constant(ROW_USER),
                tf.constant(USERS),
            )
            loss = tf.reduce_sum(total * arrays["upstream"])
        gradients = tape.gradient(loss, [implicit, explicit])
        return [total, *(tf.convert_to_tensor(gradient) for gradient in gradients)]

    tables = (tf.constant(arrays["implicit"]), tf.constant(arrays["explicit"]))
    return [tensor.numpy() for tensor in compiled(*tables)]


@pytest.mark.parametrize("sums", [sums_on_host, sums_on_device])
def test_sums_and_gradients_are_those_of_dense_matrices(
    sums: Sums, arrays: dict[str, NDArray[np.float32]]
) -> None:
    counts, residuals = np.zeros((2, USERS, MOVIES), np.float32)
    counts[ROW_USER, MOVIE] = 1
    residuals[ROW_USER, MOVIE] = arrays["residual"]
    total, implicit, explicit = run(sums, arrays)
    expected = counts @ arrays["implicit"] + residuals @ arrays["explicit"]
    np.testing.assert_allclose(total, expected, atol=1e-6)
    np.testing.assert_allclose(implicit, counts.T @ arrays["upstream"], atol=1e-6)
    np.testing.assert_allclose(explicit, residuals.T @ arrays["upstream"], atol=1e-6)


def test_the_same_input_gives_the_same_bits(arrays: dict[str, NDArray[np.float32]]) -> None:
    for first, second in zip(run(sums_on_host, arrays), run(sums_on_host, arrays), strict=True):
        np.testing.assert_array_equal(first, second)
