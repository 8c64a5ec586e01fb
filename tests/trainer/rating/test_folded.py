"""The exported model and towers have the predictions of the fitted ones."""

import json
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest

from recsys import contract
from trainer.architecture import Fit
from trainer.export import golden_predictions, user_towers, write_artifacts
from trainer.model_file import save_model
from trainer.rating.folded import LARGEST_EXACT_ID, FoldedRating, build_model, predict
from trainer.training import Evaluated

Tables = tuple[pl.DataFrame, pl.DataFrame]
UNKNOWN = 987_654_321


@pytest.fixture(scope="module")
def fits(evaluated: Evaluated, served: Fit) -> tuple[Evaluated, Fit]:
    return evaluated, served


@pytest.fixture(scope="module")
def folder(
    small: Tables, fits: tuple[Evaluated, Fit], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("release")
    write_artifacts(path, *fits, small[0])
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> keras.Model:
    return keras.saving.load_model(folder / contract.MODEL_FILE, safe_mode=True)


@pytest.fixture(scope="module")
def rating(served: Fit) -> FoldedRating:
    assert isinstance(served.rating, FoldedRating)
    return served.rating


def test_the_loaded_model_predicts_what_training_predicted(
    small: Tables, loaded: keras.Model, rating: FoldedRating
) -> None:
    users, movies = (small[0][c].to_numpy() for c in ("userId", "movieId"))
    stars = predict(loaded, users, movies)
    np.testing.assert_allclose(stars, rating.predict(users, movies), atol=1e-5)
    # With each of Keras' ways to predict.
    inputs = {"userId": users[:5].astype(np.int64), "movieId": movies[:5].astype(np.int64)}
    assert loaded.predict(inputs, verbose=0).shape == (5,)
    np.testing.assert_allclose(np.asarray(loaded(inputs)), stars[:5], atol=1e-6)
    np.testing.assert_allclose(loaded.predict_on_batch(inputs), stars[:5], atol=1e-6)


def test_unknown_ids_get_the_median_bias(loaded: keras.Model, rating: FoldedRating) -> None:
    user, movie = int(rating.user_ids[3]), int(rating.movie_ids[5])
    stars = predict(
        loaded,
        np.array([UNKNOWN, user, UNKNOWN, 2**62, -5]),
        np.array([movie, UNKNOWN, UNKNOWN, 2**62, 0]),
    )
    typical = float(np.median(rating.user_bias) + np.median(rating.movie_bias))
    assert stars[0] == pytest.approx(np.median(rating.user_bias) + rating.movie_bias[5], abs=1e-5)
    assert stars[1] == pytest.approx(rating.user_bias[3] + np.median(rating.movie_bias), abs=1e-5)
    assert stars[2:] == pytest.approx(typical, abs=1e-5)
    np.testing.assert_allclose(
        rating.predict(np.array([UNKNOWN, user]), np.array([movie, UNKNOWN])), stars[:2], atol=1e-5
    )


def test_predictions_are_clipped_to_the_range_of_stars() -> None:
    extreme = FoldedRating(
        user_ids=np.array([1, 2], np.int32),
        movie_ids=np.array([1, 2], np.int32),
        user_vectors=np.array([[90.0], [-90.0]], np.float32),
        movie_vectors=np.array([[1.0], [0.0]], np.float32),
        user_bias=np.array([3.0, 3.0], np.float32),
        movie_bias=np.array([0.25, 0.0], np.float32),
    )
    stars = predict(build_model(extreme), np.array([1, 2, 1]), np.array([1, 1, 2]))
    assert stars.tolist() == [5.0, 0.5, 3.0]


ANY_ID = [1, 2, 3, 7, 0, -1, -(2**62), 8, 2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1, 2**32 + 1, 2**62]


@pytest.mark.parametrize(
    "ids", [[1, 3, 7], [1, 3, 2**24 - 2], [1, 3, 2**24 - 1], [1, 3, 2**31 - 1]]
)
def test_every_id_is_looked_up_exactly(ids: list[int]) -> None:
    """Those from 2**24 - 1 on by a layer that needs TensorFlow, all others by any backend's."""
    number = np.arange(1, 4, dtype=np.float32)
    rating = FoldedRating(
        user_ids=np.array(ids, np.int32),
        movie_ids=np.array(ids, np.int32),
        user_vectors=np.zeros((3, 1), np.float32),
        movie_vectors=np.zeros((3, 1), np.float32),
        user_bias=number,
        movie_bias=number / 4,
    )
    model = build_model(rating)
    asked = np.array([*ANY_ID, ids[-1], ids[-1] - 1, ids[-1] + 1])
    users, movies = np.repeat(asked, len(asked)), np.tile(asked, len(asked))

    np.testing.assert_allclose(
        predict(model, users, movies), rating.predict(users, movies), atol=1e-6
    )
    needs_tensorflow = any(isinstance(x, keras.layers.IntegerLookup) for x in model.layers)
    assert needs_tensorflow == (ids[-1] >= LARGEST_EXACT_ID)


def test_the_same_model_has_the_same_bytes(
    folder: Path, rating: FoldedRating, tmp_path: Path
) -> None:
    again = tmp_path / contract.MODEL_FILE
    save_model(rating.keras_model(), again)
    assert again.read_bytes() == (folder / contract.MODEL_FILE).read_bytes()


def test_the_model_is_made_of_stock_layers_only(loaded: keras.Model) -> None:
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    assert sorted(loaded.input) == ["movieId", "userId"]
    assert {tensor.dtype for tensor in loaded.input.values()} == {"int64"}


def test_golden_predictions_cover_unknown_users_and_movies(
    loaded: keras.Model, rating: FoldedRating
) -> None:
    golden = golden_predictions(loaded, rating)
    known = {
        (user in rating.user_ids, movie in rating.movie_ids)
        for user, movie in zip(golden.user_ids, golden.movie_ids, strict=True)
    }
    assert known == {(True, True), (True, False), (False, True), (False, False)}


def test_towers_contain_all_users_and_movies_in_the_contracts_columns(
    small: Tables, folder: Path, fits: tuple[Evaluated, Fit]
) -> None:
    interactions, movies = small
    vector = pl.Array(pl.Float32, contract.TOWER_DIM)
    users = pl.read_parquet(folder / "towers/user_towers.parquet")
    assert users.schema == {"id": pl.Int32, "vector": vector, "seen": pl.List(pl.Int32)}
    assert users["id"].to_list() == interactions["userId"].unique().sort().to_list()
    items = pl.read_parquet(folder / "towers/movie_towers.parquet")
    assert items.schema == {"id": pl.Int32, "vector": vector}
    assert items["id"].to_list() == movies["movieId"].sort().to_list()
    for frame in (users, items):
        vectors = frame["vector"].to_numpy()
        assert np.isfinite(vectors).all()
        assert (np.linalg.norm(vectors, axis=1) > 0).all()
    first = fits[1].towers
    np.testing.assert_array_equal(users["vector"].to_numpy(), first.users)


def test_seen_is_all_rated_movies_of_a_user_newest_first(
    small: Tables, fits: tuple[Evaluated, Fit]
) -> None:
    interactions = small[0].sample(fraction=1, shuffle=True, seed=5)
    for user, _, seen in user_towers(fits[1].towers, interactions).head(3).iter_rows():
        of_user = small[0].filter(pl.col("userId") == user).sort("timestamp", descending=True)
        assert sorted(seen) == of_user["movieId"].sort().to_list()
        times = dict(of_user.select("movieId", "timestamp").iter_rows())
        assert [times[movie] for movie in seen] == of_user["timestamp"].to_list()


def test_the_other_artifacts_have_the_contracts_schemas(small: Tables, folder: Path) -> None:
    predictions = pl.read_parquet(folder / contract.HOLDOUT_PREDICTIONS_FILE)
    assert predictions.schema == {
        "userId": pl.Int32,
        "movieId": pl.Int32,
        "rating": pl.Float32,
        "prediction": pl.Float32,
    }
    assert len(predictions) == (small[0]["split"] == "holdout").sum()
    recommendations = pl.read_parquet(folder / contract.HOLDOUT_RECOMMENDATIONS_FILE)
    assert recommendations.schema == {
        "userId": pl.Int32,
        "rank": pl.Int16,
        "movieId": pl.Int32,
        "score": pl.Float32,
    }
    history = json.loads((folder / contract.HISTORY_FILE).read_text())
    assert {record["model"] for record in history["evaluated"]} == {"rating", "ranking"}
    assert history["evaluated"][0]["validation_rmse"] > 0
    # The served fit has no validation set.
    assert history["served"][0]["validation_rmse"] is None
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == contract.CANDIDATE_ARTIFACTS


def test_the_golden_recommendations_are_the_served_towers_best_unrated_movies(
    small: Tables, folder: Path
) -> None:
    golden = contract.GoldenRecommendations.model_validate_json(
        (folder / contract.GOLDEN_RECOMMENDATIONS_FILE).read_bytes()
    ).by_user()
    users = pl.read_parquet(folder / contract.USER_TOWERS_FILE)
    movies = pl.read_parquet(folder / contract.MOVIE_TOWERS_FILE)
    assert len(golden) == min(contract.GOLDEN_USERS, users.height)
    for user, vector, seen in users.iter_rows():
        if user in golden:
            scores = movies["vector"].to_numpy() @ np.array(vector, np.float32)
            scores[np.isin(movies["id"].to_numpy(), seen)] = -np.inf
            best = np.sort(scores)[::-1][: contract.GOLDEN_DEPTH]
            at = np.searchsorted(movies["id"].to_numpy(), golden[user])
            assert np.allclose(scores[at], best, atol=1e-5), user
