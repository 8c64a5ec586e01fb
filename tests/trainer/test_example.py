"""examples/another_model: another architecture that fulfills the same contract."""

import json
from pathlib import Path

import polars as pl
import pytest

from examples.another_model.__main__ import architecture
from recsys import contract
from recsys.contract import ExitCode, Manifest, TrainerInput
from tests.trainer.conftest import Bench
from trainer.__main__ import main

Tables = tuple[pl.DataFrame, pl.DataFrame]
MD5 = "e" * 32
VERIFY = """
import os, sys
from trainer.__main__ import main
code = main(["verify"], os.environ)
assert not [name for name in sys.modules if name.startswith("examples")]
sys.exit(code)
"""
OVERRIDES = {
    "rating": {"epochs": 6, "factors": 4, "batch_size": 128},
    "ranking": {"epochs": 3, "batch_size": 128},
}


@pytest.fixture(scope="module")
def trained(bench: Bench, small: Tables) -> TrainerInput:
    """Input of a successful training with the example."""
    bench.put_features(*small, md5=MD5)
    trainer_input = bench.input(OVERRIDES, MD5)
    assert main([], bench.environment(trainer_input), architecture) == ExitCode.OK
    bench.admit(trainer_input)
    return trainer_input


def _manifest(bench: Bench, trainer_input: TrainerInput) -> Manifest:
    key = contract.release_key(trainer_input.release_id, contract.MANIFEST_FILE)
    return Manifest.from_json(bench.store.get_bytes(key))


def test_it_stores_every_artifact_of_the_contract(
    bench: Bench, trained: TrainerInput, small: Tables
) -> None:
    manifest = _manifest(bench, trained)
    assert {a.name for a in manifest.artifacts} == contract.CANDIDATE_ARTIFACTS
    assert manifest.serving.interactions == len(small[0])
    assert manifest.serving.shift_rmse > 0
    history = json.loads(bench.store.get_bytes(manifest.artifact(contract.HISTORY_FILE).key))
    assert {record["model"] for record in history["served"]} == {"rating", "ranking"}


def test_its_model_beats_the_global_mean(bench: Bench, trained: TrainerInput) -> None:
    metrics = _manifest(bench, trained).metrics
    assert metrics.model.rmse < metrics.baselines.global_mean.rmse


def test_its_release_is_verified_in_a_process_without_its_code(
    bench: Bench, trained: TrainerInput
) -> None:
    process = bench.fork(trained, "-c", VERIFY)
    try:
        assert process.wait(300) == ExitCode.OK, process.text()
    finally:
        process.end()
    assert "reproduces" in process.text()


def test_a_later_candidate_is_compared_with_it(
    bench: Bench, trained: TrainerInput, evaluated_is_served: None
) -> None:
    trainer_input = bench.input(
        OVERRIDES | {"rating": OVERRIDES["rating"] | {"factors": 5}},
        MD5,
        champion=trained.release_id,
    )
    assert main([], bench.environment(trainer_input), architecture) == ExitCode.OK
    candidate = bench.candidate(trainer_input)
    assert candidate is not None
    compared = candidate.metrics.champion
    assert compared is not None
    assert compared.release_id == trained.release_id


def test_bad_settings_end_with_the_contracts_exit_code(bench: Bench) -> None:
    trainer_input = bench.input({"rating": {"epochs": 0}}, MD5)
    assert main([], bench.environment(trainer_input), architecture) == ExitCode.BAD_CONFIG


def test_features_that_are_missing_end_with_the_contracts_exit_code(bench: Bench) -> None:
    trainer_input = bench.input(OVERRIDES, "f" * 32)
    assert main([], bench.environment(trainer_input), architecture) == ExitCode.BAD_DATA


def test_it_trains_without_any_server(small: Tables, tmp_path: Path) -> None:
    for frame, name in zip(small, (contract.INTERACTIONS_FILE, contract.MOVIES_FILE), strict=True):
        frame.write_parquet(tmp_path / name)
    out = tmp_path / "out"
    arguments = ["local", "--features", str(tmp_path), "--out", str(out), "--no-refit"]
    quick = ["--set", "rating.epochs=1", "--set", "ranking.epochs=1"]
    assert main([*arguments, *quick], {}, architecture) == ExitCode.OK
    assert contract.REQUIRED_ARTIFACTS <= {
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()
    }
