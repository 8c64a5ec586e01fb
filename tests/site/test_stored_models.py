"""Models of earlier releases, which look up ids by a layer that needs TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from recsys_site.model import UNKNOWN_USER, StarModel
from tests.site.conftest import running_site, wait_for

VOCABULARY = [3, 5, 70_000, 2**40]
AS_KERAS_SAVES_IT: dict[str, Any] = {
    "invert": False,
    "max_tokens": None,
    "num_oov_indices": 1,
    "oov_token": -1,
    "mask_token": None,
    "output_mode": "int",
    "sparse": False,
    "pad_to_max_tokens": False,
    "vocabulary_dtype": "int64",
    "idf_weights": None,
    "oov_method": "floormod",
    "salt": None,
}


def earlier_model(path: Path, **changed: Any) -> Path:
    """Writes a model with the layer as Keras 3.15 describes it in a file that TensorFlow made."""
    import keras

    from recsys_site.stored_models import IdLookup

    users = keras.Input((), dtype="int64", name="userId")
    movies = keras.Input((), dtype="int64", name="movieId")
    table = keras.layers.Embedding(len(VOCABULARY) + 1, 1)
    of_user = keras.layers.Rescaling(0.0)(keras.layers.Reshape((1,))(users))
    stars = keras.layers.Add()([table(IdLookup(VOCABULARY, name="movie_row")(movies)), of_user])
    table.set_weights([np.array([[0.5], [1.0], [2.0], [3.0], [4.0]], np.float32)])
    plain = path.with_name("plain.keras")
    keras.Model({"userId": users, "movieId": movies}, stars).save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content: bytes | str = source.read(name)
            if name == "config.json":
                document = json.loads(content)
                [layer] = [
                    layer
                    for layer in document["config"]["layers"]
                    if layer["class_name"] == "IdLookup"
                ]
                layer |= {
                    "module": "keras.layers",
                    "class_name": "IntegerLookup",
                    "registered_name": None,
                    "config": {
                        **AS_KERAS_SAVES_IT,
                        "name": "movie_row",
                        "vocabulary": VOCABULARY,
                        "vocabulary_size": len(VOCABULARY) + 1,
                        **changed,
                    },
                }
                content = json.dumps(document)
            target.writestr(name, content)
    return path


def test_a_model_of_an_earlier_release_predicts_as_before(tmp_path: Path) -> None:
    model = StarModel(earlier_model(tmp_path / "model.keras"))

    known = model.predict(UNKNOWN_USER, VOCABULARY)
    unknown = model.predict(7, [0, -1, 4, 2**31, 2**40 + 1, 2**62])

    assert known.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert unknown.tolist() == [0.5] * 6
    assert model.predict(7, []).shape == (0,)


def test_a_release_that_needs_tensorflow_is_refused_in_one_sentence(
    postgres_server, s3_server, tmp_path: Path
):
    other = earlier_model(tmp_path / "model.keras", num_oov_indices=3).read_bytes()
    with running_site(postgres_server, s3_server, poll_seconds=1) as site:
        first = site.promote(1)
        wait_for(lambda: site.answers_with(first))
        site.releases.model_bytes = lambda number: other
        site.promote(2)
        wait_for(lambda: site.get("/readyz").json()["status"] == "degraded")
        said = site.get("/readyz").json()
    assert said["release_id"] == first
    assert said["problem"] == (
        "The model's layer movie_row (IntegerLookup) needs TensorFlow, "
        "which this site does not have."
    )


def test_tensorflow_is_not_imported_even_if_it_is_installed(tmp_path: Path) -> None:
    path = earlier_model(tmp_path / "model.keras")
    code = (
        "import sys; from pathlib import Path; from recsys_site.model import StarModel; "
        "StarModel(Path(sys.argv[1])).predict(1, [3]); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, path], cwd=Path(__file__).resolve().parents[2] / "site",
        env={"KERAS_HOME": str(tmp_path)}, check=True,
    )  # fmt: skip
