"""`recsys evaluate`, `train` and `tune` on a dataset in S3, with the settings that reach it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.dataset import write_sample
from recsys.embedded.s3 import S3
from recsys.object_store import ObjectStore, S3Settings

RECSYS = Path(sys.executable).with_name("recsys")
TRAINER = Path(
    os.environ.get("RECSYS_TRAINER_PYTHON")
    or Path(__file__).resolve().parents[3] / "trainer" / ".venv" / "bin" / "python"
)
QUICK = ["--set", "rating.epochs=1", "--set", "rating.members=1", "--set", "ranking.epochs=1"]
EVALUATE = ["evaluate", "--split", "temporal-10", "--models", "popularity", "--json"]


@pytest.fixture
def source(s3_settings: S3Settings, object_store: ObjectStore, tmp_path: Path) -> str:
    """A sample in a bucket, with its md5."""
    write_sample(tmp_path / "ml.zip", ratings=2000)
    for name in ("ml.zip", "ml.zip.md5"):
        object_store.put_file(f"dumps/{name}", tmp_path / name)
    return f"s3://{s3_settings.bucket}/dumps/ml.zip"


def recsys(
    home: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RECSYS_", "AWS_"))}
    return subprocess.run(
        [RECSYS, *arguments],
        cwd=home.parent,
        env=inherited
        | {"RECSYS_HOME": str(home), "RECSYS_TRAINER_PYTHON": str(TRAINER)}
        | {"AWS_EC2_METADATA_DISABLED": "true"}
        | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def variables(s3: S3Settings) -> dict[str, str]:
    """The environment of a user whose bucket is another one than the dataset's."""
    assert s3.access_key
    assert s3.secret_key
    return {
        "RECSYS_S3_BUCKET": "artifacts",
        "RECSYS_S3_ENDPOINT": str(s3.endpoint),
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
    }


def test_a_dataset_in_s3_is_read_with_the_settings_of_the_environment(
    source: str, s3_settings: S3Settings, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = recsys(home, *EVALUATE, "--source", source, environment=variables(s3_settings))
    assert done.returncode == 0, done.stderr
    md5 = (tmp_path / "ml.zip.md5").read_text().split()[-1]
    assert json.loads(done.stdout)["dataset_md5"] == md5
    assert not home.exists(), "no server was needed"


def test_a_dataset_in_s3_is_read_from_the_embedded_server_by_default(
    source: str, s3_server: S3, tmp_path: Path
) -> None:
    done = recsys(s3_server.home.path, *EVALUATE, "--source", source)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 2000


def test_a_missing_object_is_reported_like_in_the_pipeline(
    s3_settings: S3Settings, tmp_path: Path
) -> None:
    source = f"s3://{s3_settings.bucket}/none.zip"
    done = recsys(
        tmp_path / "home", *EVALUATE, "--source", source, environment=variables(s3_settings)
    )
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_train_reads_a_dataset_in_s3(source: str, s3_settings: S3Settings, tmp_path: Path) -> None:
    done = recsys(
        tmp_path / "home",
        *("train", "--source", source, "--out", str(tmp_path / "out"), "--no-refit", "--json"),
        *QUICK,
        environment=variables(s3_settings),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.keras").exists()


def test_tune_reads_a_dataset_in_s3(source: str, s3_settings: S3Settings, tmp_path: Path) -> None:
    # Without a trainer the command fails, but only after it has made features of the dataset.
    done = recsys(
        tmp_path / "home",
        *("tune", "--source", source, "--trials", "1", "--json"),
        environment=variables(s3_settings) | {"RECSYS_TRAINER_PYTHON": str(tmp_path / "none")},
    )
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr.replace("\n", "")
