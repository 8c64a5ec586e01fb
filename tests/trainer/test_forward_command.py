"""``python -m verifier forward``: stars for newer ratings, from files to a file."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import polars as pl
import pytest

import verifier
from recsys import contract
from recsys.contract import ExitCode, Manifest, TrainerInput
from recsys.errors import ArtifactError
from tests.trainer.conftest import Bench
from trainer.__main__ import main as trainer_main
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


def test_stars_are_the_same_on_the_backend_that_starts_fastest(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    save_model(model, 3.5)
    run(tmp_path, model)
    files = [str(tmp_path / name) for name in ("model.keras", "pairs", "light")]

    # A process of its own: Keras has one backend in each.
    command = [sys.executable, "-X", "importtime", "-m", "verifier", "forward", "--light"]
    done = subprocess.run(
        [*command, *files],
        cwd=Path(verifier.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert pl.read_parquet(tmp_path / "light").equals(pl.read_parquet(tmp_path / "out"))
    assert "tensorflow" not in {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


def test_a_model_that_answers_no_stars_or_is_none_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    save_model(model, 9.0)
    assert run(tmp_path, model) == ExitCode.BAD_DATA
    model.write_bytes(b"torn")
    assert run(tmp_path, model) == ExitCode.BAD_DATA
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["forward", "a"], ["verify", "a"], ["forward", "--light"]])
def test_a_wrong_number_of_files_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, {})
    assert ended.value.code == ExitCode.BAD_CONFIG


KEY = "5e" * 32
GONE = "0123abcd-0123abcd"


@pytest.mark.parametrize("program", [main, trainer_main], ids=["verifier", "trainer"])
def test_served_releases_predict_pairs_of_the_store_and_the_answers_are_sealed(
    bench: Bench, trained: TrainerInput, tmp_path: Path, program: Callable[..., ExitCode]
) -> None:
    pairs = PAIRS.cast(pl.Int32)
    pairs.write_parquet(tmp_path / "pairs")
    prefix = trained.build.features_prefix
    for release_id in (trained.release_id, GONE):
        key = contract.forward_pairs_key(prefix, release_id)
        bench.store.put_file(key, tmp_path / "pairs")
    # A release that is gone does not keep the others from answering, and is reported.
    asked = trained.model_copy(update={"seal": KEY, "forward": (GONE, trained.release_id)})

    assert program(["forward"], bench.environment(asked)) == ExitCode.BAD_DATA

    [key] = [k for k in bench.store.keys(contract.INBOX_PREFIX) if "/forward/" in k]
    assert key == asked.inbox_key(contract.forward_file(trained.release_id))
    sealed = bench.store.get_bytes(key)
    bench.store.delete([key])
    stars = pl.read_parquet(io.BytesIO(contract.unseal(sealed, KEY, about=trained.release_id)))
    for wrong in ("", GONE):
        with pytest.raises(ArtifactError, match="its seal is wrong"):
            contract.unseal(sealed, KEY, about=wrong)
    manifest = contract.release_key(trained.release_id, contract.MANIFEST_FILE)
    model = Manifest.from_json(bench.store.get_bytes(manifest)).artifact(contract.MODEL_FILE)
    bench.store.download(model.key, tmp_path / "model.keras")
    assert run(tmp_path, tmp_path / "model.keras") == ExitCode.OK
    here = pl.read_parquet(tmp_path / "out")
    assert stars.drop("prediction").equals(pairs)
    assert stars["prediction"].to_list() == pytest.approx(here["prediction"].to_list())


@pytest.mark.parametrize("less", [{"seal": KEY}, {"forward": (GONE,)}, {}])
def test_releases_and_a_key_must_be_given(
    bench: Bench, trained: TrainerInput, less: dict[str, object]
) -> None:
    environment = bench.environment(trained.model_copy(update=less))
    assert main(["forward"], environment) == ExitCode.BAD_CONFIG
