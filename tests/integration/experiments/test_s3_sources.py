"""`recsys evaluate` and `tune` on a dataset in S3, with the settings that reach it.

`recsys train` is tested with one in `test_local.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from recsys.dataset import write_sample
from recsys.embedded.s3 import S3
from recsys.object_store import ObjectStore, S3Settings
from tests.integration.experiments.variables import client_variables
from tests.recsys_command import run_recsys

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
    variables = {
        **inherited,
        "RECSYS_HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        **(environment or {}),
    }
    return run_recsys(arguments, variables, cwd=home.parent)


def test_a_dataset_in_s3_is_read_with_the_settings_of_the_environment(
    source: str, s3_settings: S3Settings, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    done = recsys(home, *EVALUATE, "--source", source, environment=client_variables(s3_settings))
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
        tmp_path / "home", *EVALUATE, "--source", source, environment=client_variables(s3_settings)
    )
    assert done.returncode == 1
    assert "does not exist" in done.stderr


def test_tune_reads_a_dataset_in_s3(source: str, s3_settings: S3Settings, tmp_path: Path) -> None:
    # Without a trainer the command fails, but only after it has made features of the dataset.
    done = recsys(
        tmp_path / "home",
        *("tune", "--source", source, "--trials", "1", "--json"),
        environment=client_variables(s3_settings)
        | {"RECSYS_TRAINER_PYTHON": str(tmp_path / "none")},
    )
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr.replace("\n", "")
