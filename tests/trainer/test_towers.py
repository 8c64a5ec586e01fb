"""Towers as an index needs them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.towers import equally_long


@given(seed=st.integers(0, 2**32 - 1), movies=st.integers(2, 60), dim=st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_equally_long_movies_have_one_norm_and_rank_as_before(seed, movies, dim):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(movies, dim)).astype(np.float32)
    vectors *= rng.lognormal(size=(movies, 1)).astype(np.float32)
    vectors[:, -1] = 0
    users = rng.normal(size=(5, dim)).astype(np.float32)
    users[:, -1] = 0

    made = equally_long(vectors)

    assert np.allclose(np.linalg.norm(made, axis=1), np.linalg.norm(made[0]), rtol=1e-4)
    before, after = users @ vectors.T, users @ made.T
    moved = after - before
    assert np.allclose(moved, moved.mean(axis=1, keepdims=True), atol=1e-3)
