"""The SVD of a weighted feedback matrix equals that of the materialized matrix."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from recsys.vectors import svd
from recsys.vectors.kinds import KINDS, KindWeights
from recsys.vectors.svd import FeedbackMatrix, WeightedFeedbackMatrix, leading_axes

law = hypothesis_settings(deadline=None)  # a loaded machine must not fail the test


def random_pairs(seed: int, users: int, movies: int, share: float) -> pl.DataFrame:
    """Random pairs in any order, at least one; ids have gaps."""
    rng = np.random.default_rng(seed)
    rated = rng.random((users, movies)) < share
    rated[0, 0] = True
    user, movie = rng.permutation(np.argwhere(rated)).T
    user_ids = np.sort(rng.choice(2**31 - 2, users, replace=False)) + 1
    movie_ids = np.sort(rng.choice(2**31 - 2, movies, replace=False)) + 1
    return pl.DataFrame(
        {
            "userId": user_ids[user],
            "movieId": movie_ids[movie],
            "kind": rng.integers(0, KINDS, len(user)),
        },
        schema={"userId": pl.Int32, "movieId": pl.Int32, "kind": pl.UInt8},
    )


def dense(frame: pl.DataFrame, values: pl.Series | float = 1.0) -> np.ndarray:
    """Values of pairs as a dense matrix, rows and columns by ascending id."""
    users, user = np.unique(frame["userId"].to_numpy(), return_inverse=True)
    movies, movie = np.unique(frame["movieId"].to_numpy(), return_inverse=True)
    made = np.zeros((len(users), len(movies)), np.float32)
    made[user, movie] = values
    return made


def weighted(frame: pl.DataFrame, seed: int) -> tuple[WeightedFeedbackMatrix, np.ndarray]:
    """The matrix with random weights and three additional rows; also as a dense matrix."""
    made = FeedbackMatrix.from_interactions(frame.lazy())
    rng = np.random.default_rng(seed)
    user = rng.uniform(0.5, 2, len(made.by_user)).astype(np.float32)
    weights = KindWeights(
        rng.permutation(KINDS), rng.uniform(0.5, 2, (KINDS, len(made.ids))).astype(np.float32)
    )
    rows = rng.uniform(-1, 1, (3, len(made.ids))).astype(np.float32)
    kinds = dense(frame, frame["kind"]).astype(np.int64)
    plain = dense(frame) * weights.table[weights.row_of[kinds], np.arange(len(made.ids))]
    plain = np.vstack([plain * user[:, None], rows])
    return WeightedFeedbackMatrix(made, user, weights, sp.csr_matrix(rows)), plain


@law
@given(
    st.integers(0, 2**32),
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from([0.05, 0.4, 1.0]),
    st.sampled_from([1, 7, 1 << 22]),
)
def test_blocks_contain_each_pair_once_for_any_order_and_block_size(
    seed: int, users: int, movies: int, share: float, block: int
) -> None:
    frame = random_pairs(seed, users, movies, share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svd, "BLOCK_RATINGS", block)
        made = FeedbackMatrix.from_interactions(frame.lazy())

    expected = dense(frame)
    np.testing.assert_array_equal(np.vstack([b.toarray() for b in made.blocks]), expected)
    assert made.ids.tolist() == sorted(set(frame["movieId"]))
    np.testing.assert_array_equal(made.by_user, expected.sum(axis=1))
    kinds = [
        sp.csr_matrix((k.astype(np.float32), b.indices, b.indptr), shape=b.shape).toarray()
        for b, k in zip(made.blocks, made.kinds, strict=True)
    ]
    np.testing.assert_array_equal(np.vstack(kinds), dense(frame, frame["kind"]))
    for b in made.blocks:
        assert b.shape[0] == 1 or b.nnz <= block
        assert b.indices.dtype == np.int32


@law
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 25), st.sampled_from([3, 1 << 22]))
def test_the_product_with_the_gram_matrix_equals_that_of_the_dense_matrix(
    seed: int, users: int, movies: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svd, "BLOCK_RATINGS", block)
        matrix, plain = weighted(random_pairs(seed, users, movies, 0.3), seed)
    x = np.random.default_rng(seed).normal(size=(matrix.columns, 4)).astype(np.float32)
    np.testing.assert_allclose(matrix.gram(x), plain.T @ (plain @ x), rtol=1e-3, atol=1e-3)


@law
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 25), st.integers(1, 30))
def test_axes_and_singular_values_equal_those_of_an_exact_svd(
    seed: int, users: int, movies: int, rank: int
) -> None:
    matrix, plain = weighted(random_pairs(seed, users, movies, 0.4), seed)
    axes, singular = leading_axes(matrix, rank, seed=1, rounds=2)

    exact = np.linalg.svd(plain, compute_uv=False)
    k = len(singular)
    # All columns fit into the block; only rounding noise is left out.
    assert k == min(rank, np.count_nonzero(exact > 2e-3 * exact[0])) or (
        exact[min(k, len(exact) - 1)] < 5e-3 * exact[0]
    )
    np.testing.assert_allclose(singular, exact[:k], rtol=1e-2)
    np.testing.assert_allclose(axes.T @ axes, np.eye(k), atol=1e-2)


def test_a_narrow_block_finds_the_leading_axes_of_a_wide_matrix() -> None:
    matrix, plain = weighted(random_pairs(3, 300, 400, 0.05), 3)
    _, singular = leading_axes(matrix, 10, seed=1, rounds=4)
    exact = np.linalg.svd(plain, compute_uv=False)[:10]
    assert (singular <= exact * (1 + 1e-4)).all()
    assert np.square(singular).sum() >= 0.95 * np.square(exact).sum()


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    matrix, _ = weighted(random_pairs(5, 400, 6000, 0.02), 5)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(leading_axes(matrix, 100, seed=1, rounds=2)[0])
    np.testing.assert_array_equal(*found)
