"""Releases with a real Keras model and real titles, all different for each release number."""

from __future__ import annotations

import functools
import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from recsys import contract
from tests.release_maker import Releases

HOSTILE = '<script>alert("1")</script> & %s {{ 7 * 7 }}'


class RealReleases(Releases):
    """Releases whose titles, stars and vectors depend on their number."""

    MOVIES = 60
    USERS = 12
    OFFSET = 0
    """Ids begin after it."""
    UNRATED = 61
    """A movie of the catalog without a vector."""

    def candidate(self, number: int) -> str:
        movies = range(1, self.MOVIES + 2)
        titles = [f"Movie {movie} of {number}, The (19{10 + movie})" for movie in movies]
        titles[1] = HOSTILE
        frame = pl.DataFrame(
            {
                "movieId": [self.OFFSET + movie for movie in movies],
                "title": titles,
                "year": [1910 + movie for movie in movies],
                "genres": [["Drama"], ["Sci-Fi", "Action"], None] * (len(titles) // 3)
                + [[]] * (len(titles) % 3),
            },
            schema_overrides={"movieId": pl.Int64 if self.OFFSET else pl.Int32, "year": pl.Int16},
        )
        data = io.BytesIO()
        frame.write_parquet(data)
        key = contract.titles_key(self.build(number).dataset_md5)
        self.services.store.put_bytes(key, data.getvalue())
        return super().candidate(number)

    def metrics(self, number: int) -> contract.Metrics:
        """Those of any release; the holdout of number 1 has half stars, as MovieLens has now."""
        metrics = super().metrics(number)
        if number != 1 or not metrics.calibration:
            return metrics
        halves = metrics.calibration[0].model_copy(update={"stars": 4.5, "rows": 10})
        return metrics.model_copy(update={"calibration": [*metrics.calibration, halves]})

    def histories(self, users: int) -> list[list[int]]:
        """Movie 1 and four others, different for each user: a map can be learned from them."""
        return [[1, *(2 + 4 * user + place for place in range(4))] for user in range(users)]

    def model_bytes(self, number: int) -> bytes:
        return keras_model(number, self.MOVIES)

    @staticmethod
    def stars(number: int) -> float:
        """The model's prediction for movie 1; each further movie gets 0.01 more."""
        return 1.0 + 0.25 * number


class ReleasesOfTen(RealReleases):
    """Releases of ratings from 1 to 10; number 24 predicts 7 and more."""

    def build(self, number: int) -> contract.Build:
        scale = contract.FeatureSettings(scale=contract.RatingScale(min=1, max=10))
        features = scale.model_dump(mode="json")
        return super().build(number).model_copy(update={"settings": {"features": features}})


@functools.cache
def keras_model(number: int, movies: int) -> bytes:
    """A small model of stock layers as file content; needs an environment with Keras."""
    import keras

    users = keras.Input((), dtype="int64", name="userId")
    ids = keras.Input((), dtype="int64", name="movieId")
    # Ids are counted from 1. Others become 0 or one more than the last, and have equal stars.
    within = keras.layers.ReLU(max_value=movies + 1)(keras.layers.Rescaling(1.0)(ids))
    embedding = keras.layers.Embedding(movies + 2, 1)
    known = keras.layers.Rescaling(0.0)(keras.layers.Reshape((1,))(users))
    stars = keras.layers.Add()([embedding(within), known])
    model = keras.Model({"userId": users, "movieId": ids}, stars)
    first = RealReleases.stars(number)
    table = np.array([[2.0], *([first + 0.01 * k] for k in range(movies)), [2.0]], np.float32)
    embedding.set_weights([table])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


if __name__ == "__main__":
    # For environments without Keras: `python -m tests.site.real_releases FOLDER NUMBER...`
    os.environ["KERAS_BACKEND"] = "numpy"
    for number in sys.argv[2:]:
        made = keras_model(int(number), RealReleases.MOVIES)
        (Path(sys.argv[1]) / f"{number}.keras").write_bytes(made)
