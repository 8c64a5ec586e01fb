"""Fits to ratings of another scale than stars are those to stars, mapped."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.contract import STARS, ExitCode, RatingScale
from trainer.__main__ import main
from trainer.data import Floats, Ints
from trainer.default_architecture import fit_models
from trainer.rating.folded import FoldedRating
from trainer.scaled import RatingModelInScale, fit_in_scale
from trainer.training import Evaluated
from verifier.models import predict_stars

Tables = tuple[pl.DataFrame, pl.DataFrame]
TEN = RatingScale(min=1, max=10)
QUICK = ("--set", "rating.members=1", "--set", "rating.epochs=2", "--set", "ranking.epochs=1")


def test_stars_need_no_map():
    assert fit_in_scale(fit_models, STARS) is fit_models


def _far_apart(ids: Ints, rows: Ints) -> FoldedRating:
    """A model with predictions far below, within and far above the stars."""
    bias: Floats = np.linspace(-9, 9, len(ids)).astype(np.float32)
    none = np.zeros((len(ids), 2), np.float32)
    return FoldedRating(ids, rows, none, np.zeros((len(rows), 2), np.float32), bias, bias * 0 + 0.1)


@pytest.mark.parametrize(
    "scale",
    [
        RatingScale(min=low, max=high)
        for low, high in ((1, 10), (0, 100), (1, 7), (0.5, 4), (3, 97))
    ],
    ids=str,
)
def test_a_model_of_stock_layers_predicts_the_same_and_never_leaves_the_scale(
    scale: RatingScale, tmp_path: Path
):
    ids = np.arange(1, 201, dtype=np.int32)
    model = RatingModelInScale(_far_apart(ids, ids), scale)
    users, movies = np.append(ids, [999, 5, 999]), np.append(ids[::-1], [5, 999, 999])
    found = model.predict(users, movies)
    assert (found.min(), found.max()) == (scale.min, scale.max)
    path = tmp_path / "model.keras"
    model.keras_model().save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    # It refuses predictions outside of the scale, by however little.
    served = predict_stars(loaded, users, movies, scale)
    np.testing.assert_allclose(served, found, atol=1e-4 * scale.factor)
    stars = model.stars.predict(users, movies).astype(np.float64)
    np.testing.assert_allclose(found, scale.from_stars(stars), atol=1e-5 * scale.factor)
    assert model.user_ids is model.stars.user_ids


def test_a_training_on_doubled_ratings_gives_doubled_predictions(
    small: Tables, evaluated: Evaluated, tmp_path: Path
):
    interactions, movies = small
    features = tmp_path / "features"
    features.mkdir()
    doubled = interactions.with_columns(pl.col("rating") * 2)
    movies.write_parquet(features / contract.MOVIES_FILE)
    doubled.write_parquet(features / contract.INTERACTIONS_FILE)

    def train(name: str) -> ExitCode:
        out = str(tmp_path / name)
        return main(["local", "--features", str(features), "--out", out, "--no-refit", *QUICK], {})

    # Without the scale, the ratings are no stars.
    assert train("refused") == ExitCode.BAD_DATA
    scale = contract.FeatureSettings(scale=TEN).model_dump_json()
    (features / contract.STATS_FILE).write_text(f'{{"settings": {scale}}}')
    assert train("ten") == ExitCode.OK
    interactions.write_parquet(features / contract.INTERACTIONS_FILE)
    (features / contract.STATS_FILE).unlink()
    assert train("stars") == ExitCode.OK
    ten, stars = (
        contract.Metrics.from_json((tmp_path / name / contract.METRICS_FILE).read_bytes())
        for name in ("ten", "stars")
    )
    predicted = [
        pl.read_parquet(tmp_path / name / contract.HOLDOUT_PREDICTIONS_FILE)["prediction"]
        for name in ("ten", "stars")
    ]
    np.testing.assert_allclose(predicted[0], predicted[1] * 2, atol=1e-4)
    for name, value in stars.model.values().items():
        factor = 2 if name in ("rmse", "mae") else 1
        assert ten.model.value(name) == pytest.approx(value and value * factor, rel=1e-4), name
