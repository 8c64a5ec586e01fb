"""The file of a model: its bytes, and the backends that load it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from recsys import contract
from recsys.contract import GoldenPredictions
from recsys.errors import ArtifactError
from trainer.model_file import required_backend, save_model
from trainer.rating.folded import clip_to_star_range, predict
from verifier.second_backend import check_on_second_backend


def make_model(*, with_lookup: bool, nested: bool = False) -> keras.Model:
    users = keras.Input(shape=(), dtype="int64", name="userId")
    movies = keras.Input(shape=(), dtype="int64", name="movieId")
    lookup = keras.layers.IntegerLookup(vocabulary=[1, 2, 3], name="lookup")
    number = keras.layers.ReLU(max_value=4, name="number")
    place = lookup(movies) if with_lookup else number(movies)
    if nested:
        inside = keras.Input(shape=(), dtype="int64", name="inside")
        place = keras.Model(inside, lookup(inside), name="nested")(movies)
    embedding = keras.layers.Embedding(5, 1, name="movie_bias", embeddings_initializer="ones")
    known = keras.layers.Rescaling(0.0, name="zero")(keras.layers.Reshape((1,), name="row")(users))
    stars = keras.layers.Add(name="stars")([embedding(place), known])
    return keras.Model({"userId": users, "movieId": movies}, clip_to_star_range(stars), name="it")


def test_two_files_of_one_model_are_equal_and_have_no_date(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.keras", "two.keras")]
    for path in paths:
        save_model(make_model(with_lookup=False), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"1980-01-01@00:00:00" in archive.read("metadata.json")
    with paths[0].open("rb") as file:
        contract.check_model_file(file, "one.keras")
    loaded = keras.saving.load_model(paths[0], safe_mode=True)
    assert predict(loaded, np.array([1]), np.array([2])).tolist() == [1.0]
    assert sorted(tmp_path.iterdir()) == paths


def test_its_description_has_no_memory_addresses(tmp_path: Path) -> None:
    """They differ between processes, so two trainings of one build made different files."""
    path = tmp_path / "m.keras"
    save_model(make_model(with_lookup=False), path)

    with zipfile.ZipFile(path) as archive:
        found = re.findall(r'"shared_object_id": ([0-9]+)', archive.read("config.json").decode())
    assert found
    assert max(map(int, found)) <= len(found)
    assert keras.saving.load_model(path, safe_mode=True).count_params() > 0


@pytest.mark.parametrize(
    ("with_lookup", "nested", "expected"),
    [(False, False, "any"), (True, False, "tensorflow"), (False, True, "tensorflow")],
)
def test_a_file_says_which_backends_load_it(
    tmp_path: Path, with_lookup: bool, nested: bool, expected: str
) -> None:
    save_model(make_model(with_lookup=with_lookup, nested=nested), tmp_path / "m.keras")
    assert required_backend(tmp_path / "m.keras") == expected


@pytest.mark.parametrize(
    ("with_lookup", "stars", "found"),
    [
        (False, 1.0, None),
        (False, 1.5, "does not reproduce its golden predictions"),
        (True, 1.0, "does not load with stock Keras"),
    ],
    ids=["works", "other predictions", "needs TensorFlow"],
)
def test_the_second_backend_is_tried(
    tmp_path: Path, with_lookup: bool, stars: float, found: str | None
) -> None:
    model, golden = tmp_path / "m.keras", tmp_path / "golden.json"
    save_model(make_model(with_lookup=with_lookup), model)
    recorded = GoldenPredictions(user_ids=[1], movie_ids=[2], stars=[stars], keras_version="3")
    golden.write_text(recorded.model_dump_json())
    if found is None:
        check_on_second_backend(model, golden)
        return
    with pytest.raises(ArtifactError, match="but Keras' numpy does not") as error:
        check_on_second_backend(model, golden)
    assert found in str(error.value)
