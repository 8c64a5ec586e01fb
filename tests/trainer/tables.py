"""Small tables of interactions and movies with structured tastes."""

from __future__ import annotations

import numpy as np
import polars as pl

GENRES = ("Action", "Comedy", "Drama", "Horror")


def make_interactions(
    seed: int = 0, users: int = 120, movies: int = 150, each: int = 30
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Makes interactions of users who prefer one genre each, and movies.

    The last tenth of each user's interactions is the holdout. The last five movies are unrated.
    """
    rng = np.random.default_rng(seed)
    movie_ids = np.sort(rng.choice(np.arange(1, 100_000), movies, replace=False)).astype(np.int32)
    genre = rng.integers(0, len(GENRES), movies)
    quality = rng.normal(0, 0.4, movies)
    chance = 1 / np.arange(1, movies - 4)
    rows = []
    for user in range(users):
        favorite = user % len(GENRES)
        likes = np.where(genre == favorite, 1.0, -0.6)
        appeal = chance * np.where(genre[: movies - 5] == favorite, 6.0, 1.0)
        chosen = rng.choice(movies - 5, each, replace=False, p=appeal / appeal.sum())
        stars = 3.2 + likes[chosen] + quality[chosen] + rng.normal(0, 0.4, each)
        rows.append(
            pl.DataFrame(
                {
                    "userId": np.full(each, 7 + 3 * user, np.int32),
                    "movieId": movie_ids[chosen],
                    "rating": np.clip(np.rint(stars * 2) / 2, 0.5, 5).astype(np.float32),
                    "timestamp": 1_500_000_000 + np.sort(rng.integers(0, 10**7, each)),
                }
            )
        )
    table = pl.DataFrame(
        {
            "movieId": movie_ids,
            "title": [f'A "quoted", title {k}' for k in range(movies)],
            "year": [None if k % 10 == 0 else 1950 + k % 60 for k in range(movies)],
            "genres": [[] if k % 17 == 0 else [GENRES[g]] for k, g in enumerate(genre)],
        },
        schema_overrides={"year": pl.Int16, "genres": pl.List(pl.String)},
    )
    return with_split(pl.concat(rows), 0.1), table


def with_split(interactions: pl.DataFrame, share: float) -> pl.DataFrame:
    """Marks each user's last ``share`` as the holdout, as the features do."""
    place = pl.int_range(pl.len()).over("userId")
    held = place >= pl.len().over("userId") * (1 - share)
    split = pl.when(held).then(pl.lit("holdout")).otherwise(pl.lit("train"))
    return interactions.sort("userId", "timestamp", "movieId").with_columns(
        split=split.cast(pl.Categorical)
    )
