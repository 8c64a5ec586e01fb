"""`recsys bench --whole`: one run of the pipeline with real servers, measured task by task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROMOTED = [
    *("recover_promotion", "data_is_new", "fetch_dataset", "generate_data_frames"),
    *("train_dl_model", "verify_candidate", "load_towers", "load_movie_vectors", "check_vectors"),
    *("gate_candidate", "promote_release", "write_report", "retire_old_releases"),
]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of a run as a process, which prints only JSON on standard output."""
    out: Path = tmp_path_factory.mktemp("bench") / "out.json"
    program = "from recsys.cli.app import app; app()"
    arguments = ("bench", "--whole", "--ratings", "20000", "--json", "--out", str(out))
    # Other tests of this process name a trainer that is the fork of another process.
    environment = {name: value for name, value in os.environ.items() if "RECSYS_" not in name}
    done = subprocess.run(  # our own interpreter
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "train_dl_model" in done.stderr, "progress belongs to the other stream"
    printed: dict[str, Any] = json.loads(done.stdout)
    assert json.loads(out.read_text()) == printed
    return printed


def test_every_task_from_the_zip_to_the_promotion_is_measured(document: dict[str, Any]) -> None:
    steps = {step["task"]: step for step in document["steps"]}
    assert steps.keys() >= {*PROMOTED, "between tasks"}
    assert len(steps) == len(document["steps"]), "each task has one row"
    assert all(step["wall_s"] > 0 for step in steps.values())
    assert document["promoted"] is True
    assert document["reason"].startswith("every binding rule passed")
    assert 0.5 < document["metrics"]["rmse"] < 2
    assert 19_000 < document["ratings"] <= 20_000


def test_cpu_and_memory_are_those_of_the_processes_that_do_the_work(
    document: dict[str, Any],
) -> None:
    groups = {step["task"]: step["groups"] for step in document["steps"]}
    assert groups["train_dl_model"]["trainer"]["cpu_s"] > 1
    assert groups["verify_candidate"]["verifier"]["cpu_s"] > 1
    assert "postgres" in groups["load_movie_vectors"]
    assert not any("trainer" in used for task, used in groups.items() if task != "train_dl_model")
    # TensorFlow alone has more.
    assert groups["train_dl_model"]["trainer"]["peak_process_mb"] > 300


def test_totals_are_those_of_the_tasks(document: dict[str, Any]) -> None:
    steps = document["steps"]
    assert document["cpu_s"] == pytest.approx(sum(s["cpu_s"] for s in steps), abs=0.1)
    assert document["wall_s"] == pytest.approx(sum(s["wall_s"] for s in steps), abs=0.1)
    assert document["peak_process_mb"] == max(s["peak_process_mb"] for s in steps)
    for step in steps:
        used = step["groups"].values()
        assert step["cpu_s"] == pytest.approx(sum(u["cpu_s"] for u in used), abs=0.2)
        assert all(u["peak_process_mb"] <= step["peak_process_mb"] for u in used)
