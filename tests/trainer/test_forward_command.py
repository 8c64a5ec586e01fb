"""``python -m verifier forward``: stars for newer ratings, from files to a file."""

from __future__ import annotations

from pathlib import Path

import keras
import polars as pl
import pytest

from recsys.contract import ExitCode
from verifier.__main__ import main

PAIRS = pl.DataFrame({"userId": [1, 2, 99], "movieId": [7, 8, 2**31 - 1]})


def save_model(path: Path, stars: float) -> None:
    """Saves a model that answers a constant."""
    ids = [keras.Input((), dtype="int64", name=name) for name in ("userId", "movieId")]
    total = keras.ops.cast(ids[0] + ids[1], "float32")
    keras.Model(ids, total * 0.0 + stars).save(path)


def run(folder: Path, model: Path) -> ExitCode:
    PAIRS.with_columns(rating=pl.lit(3.0)).write_parquet(folder / "pairs")
    return main(["forward", str(model), str(folder / "pairs"), str(folder / "out")], {})


def test_stars_are_written_beside_their_pairs_without_any_environment(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    save_model(model, 3.5)

    assert run(tmp_path, model) == ExitCode.OK

    written = pl.read_parquet(tmp_path / "out")
    assert written.columns == ["userId", "movieId", "prediction"]
    assert written.drop("prediction").equals(PAIRS)
    assert written["prediction"].to_list() == [3.5] * 3


def test_a_model_that_answers_no_stars_or_is_none_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    save_model(model, 9.0)
    assert run(tmp_path, model) == ExitCode.BAD_DATA
    model.write_bytes(b"torn")
    assert run(tmp_path, model) == ExitCode.BAD_DATA
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["forward"], ["forward", "a"], ["verify", "a"]])
def test_a_wrong_number_of_files_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, {})
    assert ended.value.code == ExitCode.BAD_CONFIG
