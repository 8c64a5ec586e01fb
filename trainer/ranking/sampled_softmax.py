"""Negative sampling for a softmax over a large catalog."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data import Floats, Ints


class NegativeSampler:
    """Draws negatives for a sampled softmax: mostly by popularity, some uniformly."""

    _UNIFORM_SHARE: Final = 0.3
    _FLATTENING: Final = 0.75

    def __init__(self, popularity: NDArray[np.int64], size: int) -> None:
        flat = popularity**self._FLATTENING
        chance = (1 - self._UNIFORM_SHARE) * flat / flat.sum()
        chance += self._UNIFORM_SHARE / len(popularity)
        self._size = size
        self._cumulative = np.cumsum(chance)
        self._log_expected_count = np.log(chance * size).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Returns movies and the log of each one's expected count, both of shape (size,)."""
        drawn = np.searchsorted(self._cumulative, rng.random(self._size) * self._cumulative[-1])
        return drawn.astype(np.int32), self._log_expected_count[drawn]
