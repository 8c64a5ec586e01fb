"""`recsys train` as a data scientist runs it: the real trainer, and two trainings.

The first one needs no server. The second one reads the same dataset from S3.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsys import contract
from recsys.dataset import write_sample
from recsys.object_store import ObjectStore, S3Settings
from tests.integration.experiments.variables import client_variables
from tests.recsys_command import run_recsys

QUICK = ["--set", "rating.epochs=1", "--set", "rating.members=1", "--set", "ranking.epochs=1"]
TRAINER = Path(
    os.environ.get("RECSYS_TRAINER_PYTHON")
    or Path(__file__).resolve().parents[3] / "trainer" / ".venv" / "bin" / "python"
)


@dataclass(frozen=True)
class Bench:
    """A folder to work in.

    Attributes:
        folder: holds sample.zip.
        first: what the first training printed as JSON.
    """

    folder: Path
    first: dict[str, Any]


def recsys(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command without any address of a server, except those in ``variables``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECSYS_", "AWS_"))}
    environment = {
        **kept,
        "RECSYS_HOME": str(folder / "home"),
        "RECSYS_TRAINER_PYTHON": str(TRAINER),
        "COLUMNS": "80",
        **variables,
    }
    return run_recsys(arguments, environment, cwd=folder)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    if not TRAINER.exists():
        pytest.fail(f"{TRAINER} is missing: run `make setup`")
    folder = tmp_path_factory.mktemp("bench")
    write_sample(folder / "sample.zip", ratings=4000)
    done = recsys(
        folder, "train", "-s", "sample.zip", "--out", "first", "--no-refit", "--json", *QUICK
    )
    assert done.returncode == 0, done.stderr
    assert "rating: epoch 1 of 1" in done.stderr
    return Bench(folder, json.loads(done.stdout))


def test_a_training_writes_a_release_s_files_its_metrics_and_a_report(bench: Bench) -> None:
    out = bench.folder / "first"

    assert Path(bench.first["out"]) == out
    assert json.loads((out / contract.METRICS_FILE).read_text()) == bench.first["metrics"]
    assert {"model", "baselines", "slices", "confidence"} <= set(bench.first["metrics"])
    assert bench.first["fit_s"] > 0
    assert contract.REQUIRED_ARTIFACTS <= {
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()
    }
    assert "<html" in (out / "report.html").read_text().lower()


def test_a_training_starts_no_server(bench: Bench) -> None:
    assert {path.name for path in (bench.folder / "home").glob("*")} <= {"training"}


def test_a_training_on_a_dataset_in_s3_is_compared_with_an_earlier_one_and_prints_80_columns(
    bench: Bench, s3_settings: S3Settings, object_store: ObjectStore
) -> None:
    for name in ("sample.zip", "sample.zip.md5"):
        object_store.put_file(f"dumps/{name}", bench.folder / name)
    source = f"s3://{s3_settings.bucket}/dumps/sample.zip"
    done = recsys(
        bench.folder,
        *("train", "--source", source, "--out", "second", "--no-refit", "--champion", "first"),
        *("--set", "rating.epochs=2", *QUICK[2:]),
        **client_variables(s3_settings),
    )

    assert done.returncode == 0, done.stderr
    assert (bench.folder / "second" / "model.keras").exists()
    champion = json.loads((bench.folder / "second" / contract.METRICS_FILE).read_text())["champion"]
    # The same holdout, and what was evaluated is asked again: the same answers.
    first = bench.first["metrics"]["model"]
    assert champion["release_id"] == "first"
    assert champion["rows"] == bench.first["metrics"]["holdout"]["rows"]
    for metric in ("rmse", "ndcg@10", "recall@10"):
        assert champion[metric] == pytest.approx(first[metric], abs=1e-4)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("rmse - champion")]
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("files:"))]
    assert max(map(len, table)) <= 80


def test_settings_that_make_no_sense_are_refused_with_the_field_named(bench: Bench) -> None:
    done = recsys(
        bench.folder, "train", "-s", "sample.zip", "--out", "third", "--set", "rating.epochs=none"
    )

    assert done.returncode == 2, "a usage error"
    assert "rating.epochs" in done.stderr
    assert not (bench.folder / "third").exists()


def test_a_folder_without_features_is_rejected(bench: Bench) -> None:
    done = recsys(bench.folder, "train", "--features", "first", "--out", "fourth")

    assert done.returncode == 1
    assert "without interactions.parquet" in done.stderr.replace("\n", " ")
