"""Augmentation of towers for an index, and their projection to the contract's dimension."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.contract import TOWER_DIM
from trainer.ranking.towers import BIAS, SPARE_DIMS, augment_to_equal_norm, project_to_tower_dim


@given(seed=st.integers(0, 2**32 - 1), movies=st.integers(2, 60), dim=st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_augmented_movies_have_equal_norms_and_the_same_ranking(seed, movies, dim):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(movies, dim)).astype(np.float32)
    vectors *= rng.lognormal(size=(movies, 1)).astype(np.float32)
    vectors[:, -1] = 0
    users = rng.normal(size=(5, dim)).astype(np.float32)
    users[:, -1] = 0

    made = augment_to_equal_norm(vectors)

    assert np.allclose(np.linalg.norm(made, axis=1), np.linalg.norm(made[0]), rtol=1e-4)
    before, after = users @ vectors.T, users @ made.T
    moved = after - before
    assert np.allclose(moved, moved.mean(axis=1, keepdims=True), atol=1e-3)


@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(2, 40),
    movies=st.integers(2, 40),
    dim=st.integers(1, 40),
)
@settings(max_examples=40, deadline=None)
def test_projection_keeps_the_ranking_if_all_dimensions_fit(seed, users, movies, dim):
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(users, dim)).astype(np.float32)
    vectors = rng.normal(size=(movies, dim)).astype(np.float32)
    bias = rng.normal(size=movies).astype(np.float32)

    made_users, made_movies = project_to_tower_dim(wide, vectors, bias)

    assert made_users.shape == (users, TOWER_DIM)
    assert made_movies.shape == (movies, TOWER_DIM)
    assert (made_users[:, BIAS] == 1).all()
    before, after = wide @ vectors.T + bias, made_users @ made_movies.T
    moved = after - before
    assert np.allclose(moved, moved.mean(axis=1, keepdims=True), atol=1e-2)


def test_projection_is_the_truncated_svd_with_unit_variance_if_not_all_dimensions_fit():
    rng = np.random.default_rng(1)
    users = rng.normal(size=(400, 150)).astype(np.float32)
    movies = rng.normal(size=(300, 150)).astype(np.float32)
    movies *= (0.9 ** np.arange(150)).astype(np.float32)

    made_users, made_movies = project_to_tower_dim(users, movies, np.zeros(300, np.float32))

    def centered(scores):
        return scores - scores.mean(axis=1, keepdims=True)

    wanted = centered(users @ movies.T)
    latent = TOWER_DIM - SPARE_DIMS
    lost = np.linalg.norm(wanted - centered(made_users @ made_movies.T))
    values = np.linalg.svd(wanted - wanted.mean(axis=0), compute_uv=False)
    assert lost == pytest.approx(np.linalg.norm(values[latent:]), rel=1e-3)
    assert np.allclose(np.square(made_users[:, :latent]).mean(axis=0), 1, rtol=1e-3)
