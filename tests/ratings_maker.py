"""Generated ratings of a year, for tests of splits and holdouts."""

from __future__ import annotations

import numpy as np
import polars as pl


def interactions(seed: int, users: int = 12, movies: int = 30) -> pl.DataFrame:
    """Ratings over a year; users start at different times."""
    rng = np.random.default_rng(seed)
    rows = [
        (user, int(movie), rng.integers(1, 11) / 2, int((user * 25 + 3 * place) * 86_400))
        for user in range(1, users + 1)
        for place, movie in enumerate(
            rng.choice(np.arange(1, movies + 1), size=rng.integers(2, 20), replace=False)
        )
    ]
    return pl.DataFrame(
        rows,
        schema={
            "userId": pl.Int32,
            "movieId": pl.Int32,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
        },
        orient="row",
    )
