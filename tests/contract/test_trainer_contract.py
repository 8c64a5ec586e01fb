"""The contract that every trainer must fulfill for the pipeline; see recsys.contract."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from recsys import contract
from recsys.contract import ExitCode, GoldenPredictions, TrainerInput
from tests.contract.runner import ImageTrainer, LocalTrainer, Trainer
from tests.trainer.conftest import QUICK, THREADS, Bench

Tables = tuple[pl.DataFrame, pl.DataFrame]

REVISION = "0123abc"
_PREDICT = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy
assert not [name for name in sys.modules if name.startswith(("recsys", "trainer"))]
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
asked = {k: numpy.array(v, numpy.int64) for k, v in json.loads(sys.argv[2]).items()}
print(json.dumps(model.predict(asked, verbose=0).reshape(-1).tolist()))
"""


def environment(bench: Bench, trainer_input: TrainerInput) -> dict[str, str]:
    """Returns the variables that a pod gets, and none of this machine's."""
    return {
        **trainer_input.to_environment(),
        **bench.credentials,
        "RECSYS_CODE_REVISION": REVISION,
        **THREADS,
    }


def make_input(
    bench: Bench, md5: str, overrides: object = QUICK, **changed: object
) -> TrainerInput:
    """Returns the input of a pod without the folder for XCom."""
    return bench.input(overrides, md5=md5 * 32, xcom_dir="/airflow/xcom", **changed)


@pytest.fixture(scope="module")
def without_s3(trainer: Trainer, bench: Bench) -> Iterator[subprocess.Popen[str]]:
    """A trainer with an unreachable S3; it starts first, because its retries take long."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        trainer_input = make_input(bench, "5", s3_endpoint=endpoint)
        process, _ = trainer.start(environment(bench, trainer_input), "train")
        with process:
            yield process
            process.kill()


@pytest.fixture(scope="module")
def trained(
    trainer: Trainer, bench: Bench, small: Tables, without_s3: object
) -> tuple[TrainerInput, str]:
    """Input and output of a successful training."""
    bench.put_features(*small, md5="1" * 32)
    trainer_input = make_input(bench, "1")
    code, out = trainer.run(environment(bench, trainer_input), "train")
    assert code == ExitCode.OK, out
    bench.admit(trainer_input)
    return trainer_input, out


def test_the_manifest_names_the_build_the_run_and_all_artifacts(
    bench: Bench, trained: tuple[TrainerInput, str]
) -> None:
    trainer_input, _ = trained
    manifest = bench.candidate(trainer_input)
    assert manifest is not None
    assert (manifest.run_nonce, manifest.build) == (trainer_input.run_nonce, trainer_input.build)
    assert {artifact.name for artifact in manifest.artifacts} >= contract.CANDIDATE_ARTIFACTS
    for artifact in manifest.artifacts:
        assert bench.store.sha256(artifact.key) == artifact.sha256
    assert manifest.metrics.model.rmse < manifest.metrics.baselines.bias.rmse
    assert manifest.lineage["code_revision"] == REVISION


def test_output_and_log_contain_no_secret(bench: Bench, trained: tuple[TrainerInput, str]) -> None:
    trainer_input, out = trained
    stored = bench.log(trainer_input)
    assert "exit code 0" in stored
    for secret in bench.credentials.values():
        assert secret not in out + stored


# Without this variable, JAX cuts integers to 32 bits: 2**32 + 5 would be the id 5.
@pytest.mark.parametrize(
    "backend",
    [
        {"KERAS_BACKEND": "tensorflow"},
        {"KERAS_BACKEND": "numpy"},
        {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"},
        pytest.param(
            {"KERAS_BACKEND": "torch"},
            marks=pytest.mark.skipif(
                importlib.util.find_spec("torch") is None,
                reason="the trainer's environment has no torch",
            ),
        ),
    ],
    ids=lambda variables: variables["KERAS_BACKEND"],
)
def test_stock_keras_loads_the_model_in_a_fresh_process_and_predicts_for_any_id(
    bench: Bench,
    trained: tuple[TrainerInput, str],
    tmp_path: Path,
    backend: dict[str, str],
) -> None:
    manifest = bench.candidate(trained[0])
    assert manifest is not None
    if manifest.requires_backend not in ("any", backend["KERAS_BACKEND"]):
        pytest.skip(f"the release requires Keras' {manifest.requires_backend} backend")
    path = tmp_path / contract.MODEL_FILE
    bench.store.download(manifest.artifact(contract.MODEL_FILE).key, path)
    stored = bench.store.get_bytes(manifest.artifact(contract.GOLDEN_FILE).key)
    golden = GoldenPredictions.model_validate_json(stored)
    unknown_ids = [0, -1, 2**24, 2**31, 2**63 - 1, *(2**32 + id for id in golden.movie_ids[:5])]
    asked = {
        "userId": golden.user_ids + unknown_ids,
        "movieId": golden.movie_ids + unknown_ids,
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PREDICT, str(path), json.dumps(asked)],
        env={"HOME": str(tmp_path), **THREADS, **backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stars = json.loads(done.stdout.splitlines()[-1])
    count = len(golden.stars)
    assert stars[:count] == pytest.approx(golden.stars, abs=contract.GOLDEN_TOLERANCE)
    assert len(stars) == count + len(unknown_ids)
    # The last golden prediction is that for an unknown user and an unknown movie.
    assert stars[count:] == pytest.approx([golden.stars[-1]] * len(unknown_ids), abs=1e-5)
    assert all(contract.MIN_STARS <= s <= contract.MAX_STARS for s in stars)


def test_verify_accepts_the_release_and_refuses_another_run(
    trainer: Trainer, bench: Bench, trained: tuple[TrainerInput, str]
) -> None:
    trainer_input, _ = trained
    code, out = trainer.run(environment(bench, trainer_input), "verify")
    assert code == ExitCode.OK, out
    other = trainer_input.model_copy(update={"run_nonce": "another-run"})
    code, out = trainer.run(environment(bench, other), "verify")
    assert code == ExitCode.BAD_DATA, out


def test_sigterm_during_training_leaves_no_manifest(
    trainer: Trainer, bench: Bench, small: Tables
) -> None:
    bench.put_features(*small, md5="2" * 32)
    endless = {"rating": {"epochs": 1000, "batch_size": 64}}
    trainer_input = make_input(bench, "2", endless)
    process, name = trainer.start(environment(bench, trainer_input), "train")
    with process:
        assert process.stdout is not None
        said = next((x for x in process.stdout if re.search(r"epoch 2\b", x)), None)
        assert said, "it exited before SIGTERM"
        trainer.terminate(process, name)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.TERMINATED, out
    assert bench.candidate(trainer_input) is None


def test_bad_data_has_its_exit_code(trainer: Trainer, bench: Bench, small: Tables) -> None:
    interactions, movies = small
    same = interactions.with_columns(rating=pl.lit(4.0, pl.Float32))
    bench.put_features(same, movies, md5="3" * 32)
    trainer_input = make_input(bench, "3")
    code, out = trainer.run(environment(bench, trainer_input), "train")
    assert code == ExitCode.BAD_DATA, out
    assert "what to do:" in out
    assert bench.candidate(trainer_input) is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({contract.ENV_BUILD: "{"}, "is invalid"),
        ({contract.ENV_RUN_NONCE: ""}, "run_nonce"),
        ({contract.ENV_CONTRACT: ""}, "contract 1"),
        ({contract.ENV_S3_BUCKET: "no-such-bucket"}, "no-such-bucket"),
    ],
)
def test_bad_config_has_its_exit_code(
    trainer: Trainer, bench: Bench, changed: dict[str, str], named: str
) -> None:
    trainer_input = make_input(bench, "4")
    code, out = trainer.run(environment(bench, trainer_input) | changed, "train")
    assert code == ExitCode.BAD_CONFIG, out
    assert named in out


def test_an_unreachable_s3_is_a_transient_failure(
    without_s3: subprocess.Popen[str], trained: object
) -> None:
    out, _ = without_s3.communicate(timeout=900)
    assert without_s3.returncode == ExitCode.UNAVAILABLE, out
    assert contract.exit_is_transient(without_s3.returncode)


def test_it_writes_only_to_the_folder_for_temporary_files(
    trainer: Trainer, scratch: Path, trained: object
) -> None:
    if not trainer.read_only:
        pytest.skip(
            "this machine does not allow mount namespaces: the root cannot be made read-only"
        )
    done = trainer.python("open('/probe', 'w')")
    assert "Read-only file system" in done.stderr, done.stderr
    if isinstance(trainer, LocalTrainer):
        assert not list(scratch.glob("recsys-trainer-*")), "temporary files are left behind"


def test_the_image_runs_as_an_unprivileged_user_and_has_a_revision(
    image: ImageTrainer,
) -> None:
    config = json.loads(image.config())
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert config["Labels"]["org.opencontainers.image.revision"] != "unknown"


def test_the_image_contains_no_compiler_no_airflow_and_no_password(image: ImageTrainer) -> None:
    done = image.python(
        "import importlib.util, os, shutil; "
        "print([shutil.which(c) for c in ('cc', 'gcc', 'make')], "
        "importlib.util.find_spec('airflow'), os.getuid(), os.access('/app', os.W_OK))"
    )
    assert done.stdout.split("\n")[0] == "[None, None, None] None 10001 False", done.stderr
    config = json.loads(image.config())
    assert not [v for v in config["Env"] if "PASSWORD" in v or "SECRET" in v]
