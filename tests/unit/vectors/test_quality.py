"""Quality of movie vectors: ranks, agreement, popularity, and bounds of the work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.vectors import measure_quality, quality
from recsys.vectors.quality import agreement, quality_table
from recsys.vectors.retrieval import RetrievalTask, by_popularity, by_raw_cosine, raw_stars

law = hypothesis_settings(deadline=None)  # a loaded machine must not fail the test


def interactions(n_users: int = 120, n_movies: int = 60, seed: int = 5) -> pl.DataFrame:
    """Users of two tastes, with half of the movies each; a tenth of their ratings is holdout."""
    rng = np.random.default_rng(seed)
    pairs = [
        (u + 1, m + 1)
        for u in range(n_users)
        for m in rng.permutation(n_movies)
        if rng.random() < (0.5 if u % 2 == m % 2 else 0.02)
    ]
    frame = pl.DataFrame(pairs, schema={"userId": pl.Int32, "movieId": pl.Int32}, orient="row")
    place = pl.int_range(pl.len()).over("userId")
    return frame.with_columns(
        rating=pl.Series(rng.integers(6, 11, frame.height) / 2, dtype=pl.Float32),
        timestamp=pl.Series(rng.integers(900_000_000, 1_500_000_000, frame.height)),
        split=pl.when(place < 0.9 * pl.len().over("userId"))
        .then(pl.lit("train"))
        .otherwise(pl.lit("holdout")),
    )


def movies(n: int = 60) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "movieId": range(1, n + 1),
            "title": [f"Title {m} (1990)" for m in range(n)],
            "year": [1990] * n,
            "genres": [["Drama"]] * n,
        },
        schema={
            "movieId": pl.Int32,
            "title": pl.String,
            "year": pl.Int16,
            "genres": pl.List(pl.String),
        },
    )


@law
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(2, 12))
def test_ranks_equal_those_of_sorting_the_unrated_movies(
    seed: int, n_users: int, n_movies: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = np.arange(10, 10 + n_movies, dtype=np.int32)
    rated = [(u, m, s) for u in range(n_users) for m in ids if (s := rng.integers(0, 11))]
    rated += [(0, int(ids[0]), 10)]
    train = pl.DataFrame(rated, schema=["userId", "movieId", "rating"], orient="row").unique(
        ["userId", "movieId"]
    )
    train = train.with_columns(pl.col("userId", "movieId").cast(pl.Int32), pl.col("rating") / 2)
    hidden = pl.DataFrame(
        [(u, int(m)) for u in range(n_users) for m in rng.integers(5, 15 + n_movies, 3)],
        schema={"userId": pl.Int32, "movieId": pl.Int32},
        orient="row",
    )
    scores = rng.integers(0, 4, (n_users, n_movies)).astype(np.float32)  # many ties
    users = np.unique(hidden["userId"].to_numpy())

    task = RetrievalTask.from_frames(hidden, train, ids)
    ranks = task.ranks(lambda liked: scores[users].copy())

    for (user, movie), rank in zip(hidden.iter_rows(), ranks, strict=True):
        seen = set(train.filter(userId=user)["movieId"])
        has_liked = train.filter(pl.col("rating") >= 4, userId=user).height > 0
        if movie not in ids or movie in seen or not has_liked:
            assert rank == np.inf
            continue
        others = [scores[user, i] for i, m in enumerate(ids) if m not in seen and m != movie]
        own = scores[user, movie - 10]
        above = sum(o > own for o in others)
        assert rank == 1 + above + sum(o == own for o in others) / 2


def test_raw_cosine_is_the_sum_of_cosines_of_columns_of_stars() -> None:
    train = interactions().filter(split="train")
    ids = train["movieId"].unique().sort().to_numpy()
    plain = train.pivot("movieId", index="userId", values="rating").fill_null(0)
    columns = plain.select(map(str, ids)).to_numpy()
    cosines = (columns.T @ columns) / np.outer(*[np.linalg.norm(columns, axis=0)] * 2)
    liked = np.random.default_rng(0).random((4, len(ids))) < 0.3
    found = by_raw_cosine(raw_stars(train, ids))(sp.csr_matrix(liked.astype(np.float32)))
    np.testing.assert_allclose(found, liked @ cosines, rtol=1e-4)


def test_agreement_is_1_for_vectors_with_the_same_cosines_and_low_for_random_ones() -> None:
    train = interactions().filter(split="train")
    ids = train["movieId"].unique().sort().to_numpy()
    stars = raw_stars(train, ids)
    whole = stars.toarray().T
    noise = np.random.default_rng(0).normal(size=whole.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    columns = np.arange(len(ids))
    assert agreement(stars, whole, columns) == 1
    assert agreement(stars, noise, columns) < 0.4


def test_quality_compares_vectors_with_exact_cosine_and_popularity() -> None:
    table = quality_table(interactions(), movies(), dim=16)
    assert table is not None
    assert set(table.found) == {"movie_vectors", "raw_cosine", "popularity"}
    assert table.users == 120
    assert table.hidden == sum(bucket.hidden for bucket in table.by_popularity)
    # A user likes half of the 60 movies and rated half of those, so 50 neighbors include all.
    assert table.found["movie_vectors"].hit_rate > 0.9
    assert table.found["movie_vectors"].ndcg > table.found["popularity"].ndcg
    for kind, share in table.found.items():
        weighted = sum(b.hidden * b.found[kind].ndcg for b in table.by_popularity if b.hidden)
        assert weighted / table.hidden == pytest.approx(share.ndcg)


def test_hidden_movies_do_not_affect_the_measured_vectors() -> None:
    rows = interactions()
    holdout = pl.col("split") == "holdout"
    last = rows.filter(holdout).group_by("userId").last().select("userId", "movieId")
    fewer = rows.join(last, on=["userId", "movieId"], how="anti")
    one = quality_table(rows, movies(), dim=16)
    two = quality_table(fewer, movies(), dim=16)
    assert one is not None
    assert two is not None
    assert one.hidden > two.hidden
    assert one.agreement_at_10 == two.agreement_at_10


def test_without_liked_movies_in_the_holdout_there_is_no_quality() -> None:
    rows = interactions().with_columns(
        rating=pl.when(pl.col("split") == "holdout").then(2.0).otherwise(pl.col("rating"))
    )
    assert quality_table(rows, movies(), dim=16) is None


def test_a_bounded_and_reproducible_sample_of_users_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interactions().write_parquet(tmp_path / "interactions.parquet")
    movies().write_parquet(tmp_path / "movies.parquet")
    monkeypatch.setattr(quality, "SAMPLE_USERS", 50)
    first = measure_quality(tmp_path, dim=16)
    interactions()[::-1].write_parquet(tmp_path / "interactions.parquet")
    second = measure_quality(tmp_path, dim=16)

    assert first is not None
    assert first.users == 50
    assert first == second
    json.dumps(first.model_dump(mode="json"), allow_nan=False)
    assert quality_table(interactions(), movies(), dim=16, query_users=7).asked == 7  # type: ignore[union-attr]


def test_popularity_scores_are_the_same_for_every_user() -> None:
    ratings = np.array([3, 1, 2])
    found = by_popularity(ratings)(sp.csr_matrix(np.eye(3, dtype=np.float32)[:2]))
    np.testing.assert_array_equal(found, [ratings, ratings])
