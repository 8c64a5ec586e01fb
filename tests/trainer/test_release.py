"""The trainer with a real S3 server: what it stores, and what the verifier refuses."""

import io
import json
import re
import signal
import zipfile
from pathlib import Path

import polars as pl
import pytest

from recsys import contract
from recsys.contract import ExitCode, GoldenPredictions, Manifest, TrainerInput
from recsys.object_store import file_sha256
from tests.trainer.conftest import QUICK, REVISION, Bench
from trainer.__main__ import main

Tables = tuple[pl.DataFrame, pl.DataFrame]


def _manifest(bench: Bench, trainer_input: TrainerInput) -> Manifest:
    key = contract.release_key(trainer_input.release_id, contract.MANIFEST_FILE)
    return Manifest.from_json(bench.store.get_bytes(key))


def test_a_release_is_stored_with_all_artifacts_and_its_lineage(
    bench: Bench, trained: TrainerInput, small: Tables
) -> None:
    manifest = _manifest(bench, trained)
    assert {a.name for a in manifest.artifacts} == contract.CANDIDATE_ARTIFACTS
    for artifact in manifest.artifacts:
        assert bench.store.sha256(artifact.key) == artifact.sha256
    assert (manifest.run_nonce, manifest.build) == (trained.run_nonce, trained.build)
    assert (manifest.serving.method, manifest.serving.interactions) == ("fold_in", len(small[0]))
    lineage = manifest.lineage
    assert (lineage["seed"], lineage["code_revision"]) == (3, REVISION)
    assert lineage["data"]["train"] + lineage["data"]["holdout"] == len(small[0])
    assert lineage["config"]["rating"]["epochs"] == QUICK["rating"]["epochs"]
    assert {"python", "keras", "tensorflow", "numpy", "hardware", "seconds"} <= set(lineage)
    stored = bench.store.get_bytes(manifest.artifact(contract.METRICS_FILE).key)
    assert json.loads(stored)["metrics_schema"] == contract.METRICS_SCHEMA
    assert contract.Metrics.from_json(stored) == manifest.metrics
    answer = json.loads((Path(trained.xcom_dir) / "return.json").read_text())
    assert answer == {"manifest_key": trained.inbox_key(contract.MANIFEST_FILE)}


def test_the_log_is_stored_with_every_epoch_and_without_secrets(
    bench: Bench, trained: TrainerInput
) -> None:
    log = bench.log(trained)
    assert "rating model epoch 12 of 12: loss" in log
    assert "validation rmse" in log
    assert "exit code 0 (OK)" in log
    for secret in bench.credentials.values():
        assert secret not in log


def test_a_complete_candidate_is_not_trained_again(bench: Bench, trained: TrainerInput) -> None:
    before, log = bench.candidate(trained), bench.log(trained)
    assert main(["train"], bench.environment(trained)) == ExitCode.OK
    assert bench.candidate(trained) == before
    assert bench.log(trained) == log


def test_it_writes_to_its_inbox_only(bench: Bench, trained: TrainerInput) -> None:
    inbox = contract.inbox_prefix(trained.release_id, trained.run_nonce)
    names = {a.name for a in _manifest(bench, trained).artifacts}
    written = {*names, contract.MANIFEST_FILE, contract.TRAINER_LOG_FILE}
    prefix = contract.release_inbox_prefix(trained.release_id)
    assert set(bench.store.keys(prefix)) == {inbox + name for name in written}
    # What the fixture has copied, and no log.
    released = bench.store.keys(contract.release_prefix(trained.release_id))
    assert len(released) == len(names) + 1


def test_verify_accepts_the_release_in_a_fresh_process(bench: Bench, trained: TrainerInput) -> None:
    code, out = bench.run(trained, "verify")
    assert code == ExitCode.OK
    assert "reproduces 67 golden predictions" in out
    assert _manifest(bench, trained).requires_backend == "any"


@pytest.fixture
def copied(bench: Bench, trained: TrainerInput, tmp_path: Path) -> TrainerInput:
    """Another release with the same artifacts, for tests that damage it."""
    trainer_input = bench.input(md5=tmp_path.name.encode().hex().ljust(32, "0")[-32:])
    artifacts = []
    for artifact in _manifest(bench, trained).artifacts:
        key = contract.release_key(trainer_input.release_id, artifact.name)
        bench.store.copy(artifact.key, key, {})
        artifacts.append(artifact.model_copy(update={"key": key}))
    _put_manifest(bench, trainer_input, _manifest(bench, trained), artifacts=tuple(artifacts))
    return trainer_input


def _put_manifest(
    bench: Bench, trainer_input: TrainerInput, manifest: Manifest, **changed: object
) -> None:
    changed = {
        "release_id": trainer_input.release_id,
        "build": trainer_input.build,
        "fingerprint": trainer_input.build.fingerprint,
        **changed,
    }
    key = contract.release_key(trainer_input.release_id, contract.MANIFEST_FILE)
    bench.store.put_bytes(key, manifest.model_copy(update=changed).to_json())


def _replace_artifact(
    bench: Bench, trainer_input: TrainerInput, name: str, data: bytes, folder: Path
) -> None:
    """Replaces an artifact and updates its sha256 in the manifest."""
    path = folder / "other"
    path.write_bytes(data)
    manifest = _manifest(bench, trainer_input)
    bench.store.put_bytes(manifest.artifact(name).key, data)
    artifacts = tuple(
        a.model_copy(update={"sha256": file_sha256(path), "size": len(data)})
        if a.name == name
        else a
        for a in manifest.artifacts
    )
    _put_manifest(bench, trainer_input, manifest, artifacts=artifacts)


def test_a_candidate_with_a_changed_artifact_is_trained_again(
    bench: Bench, copied: TrainerInput, small: Tables, evaluated_is_served: None
) -> None:
    bench.put_features(*small, md5=copied.build.dataset_md5)
    first = _manifest(bench, copied)
    for artifact in first.artifacts:
        bench.store.copy(artifact.key, copied.inbox_key(artifact.name), {})
    bench.store.put_bytes(copied.inbox_key(contract.MANIFEST_FILE), first.to_json())
    key = copied.inbox_key(contract.MODEL_FILE)
    bench.store.put_bytes(key, b"torn")
    assert main([], bench.environment(copied)) == ExitCode.OK
    again = bench.candidate(copied)
    assert again is not None
    assert bench.store.sha256(key) == again.artifact(contract.MODEL_FILE).sha256
    assert again.created_at > first.created_at
    assert again.metrics == first.metrics


def _verify(
    bench: Bench, trainer_input: TrainerInput, capsys: pytest.CaptureFixture[str]
) -> tuple[ExitCode, str]:
    code = main(["verify"], bench.environment(trainer_input))
    return code, capsys.readouterr().out


def test_verify_refuses_a_changed_byte(
    bench: Bench, copied: TrainerInput, capsys: pytest.CaptureFixture[str]
) -> None:
    key = contract.release_key(copied.release_id, contract.MODEL_FILE)
    data = bytearray(bench.store.get_bytes(key))
    data[len(data) // 2] ^= 1
    bench.store.put_bytes(key, bytes(data))
    code, out = _verify(bench, copied, capsys)
    assert code == ExitCode.BAD_DATA
    assert "has changed since it was stored" in out


def _rewritten(data: bytes, changed: dict[str, bytes]) -> bytes:
    """A model's file with changed members, or more of them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | changed
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model.weights.h5": b"no weights"}, "does not load with stock Keras"),
        ({"../../escaped.py": b"x"}, "is not a model's file as Keras writes it"),
    ],
)
def test_verify_refuses_a_model_that_does_not_load_or_hides_something(
    bench: Bench,
    copied: TrainerInput,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    changed: dict[str, bytes],
    said: str,
) -> None:
    whole = bench.store.get_bytes(contract.release_key(copied.release_id, contract.MODEL_FILE))
    _replace_artifact(bench, copied, contract.MODEL_FILE, _rewritten(whole, changed), tmp_path)
    code, out = _verify(bench, copied, capsys)
    assert code == ExitCode.BAD_DATA
    assert said in out


@pytest.mark.parametrize("off", [0.01, -3.0])
def test_verify_refuses_a_model_with_other_predictions(
    bench: Bench,
    copied: TrainerInput,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    off: float,
) -> None:
    key = contract.release_key(copied.release_id, contract.GOLDEN_FILE)
    golden = GoldenPredictions.model_validate_json(bench.store.get_bytes(key))
    other = golden.model_copy(update={"stars": [*golden.stars[:-1], golden.stars[-1] + off]})
    data = other.model_dump_json().encode()
    _replace_artifact(bench, copied, contract.GOLDEN_FILE, data, tmp_path)
    code, out = _verify(bench, copied, capsys)
    assert code == ExitCode.BAD_DATA
    assert "does not reproduce its golden predictions" in out


def test_verify_refuses_the_manifest_of_another_run_and_a_missing_one(
    bench: Bench, trained: TrainerInput, capsys: pytest.CaptureFixture[str]
) -> None:
    other = trained.model_copy(update={"run_nonce": "another-run"})
    code, out = _verify(bench, other, capsys)
    assert code == ExitCode.BAD_DATA
    assert "another run nonce" in out
    nothing = bench.input(md5="9" * 32)
    assert _verify(bench, nothing, capsys)[0] == ExitCode.BAD_DATA


def test_sigterm_ends_the_training_without_a_manifest(bench: Bench, small: Tables) -> None:
    bench.put_features(*small, md5="d" * 32)
    trainer_input = bench.input({"rating": {"epochs": 1000, "batch_size": 64}}, md5="d" * 32)
    with bench.start(trainer_input) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.search(r"epoch 2\b", line):
                break
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.TERMINATED
    assert "terminated by SIGTERM" in out
    assert bench.candidate(trainer_input) is None
    assert "terminated by SIGTERM" in bench.log(trainer_input)
