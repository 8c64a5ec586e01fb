"""`recsys bench`: a small benchmark of all stages with real servers and the reference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys.benchmark import run
from recsys.benchmark.stage_process import BenchmarkError, Measured, run_stage
from recsys.cli.app import app

STAGES = ["fetch", "preprocess", "vectors", "load", "index", "check"]
KEYS = {"ratings", "machine", "total_wall_s", "peak_rss_mb", "stages"}
STAGE_KEYS = {
    *("stage", "wall_s", "cpu_s", "peak_rss_mb", "rows_per_s"),
    *("reference_wall_s", "ratio", "floor_s", "times_floor"),
}
MEASURED = {"index_s", "recall_at_10", "p50_ms", "p99_ms"}
"""Facts that depend on the machine and its load; a parallel index build varies."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The document of a run as a process, which prints only JSON on standard output."""
    out = tmp_path_factory.mktemp("bench") / "deep" / "out.json"
    program = "from recsys.cli.app import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", program, *("bench", "--ratings", "5000"), "--out", out, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "generating 5,000 ratings" in done.stderr, "progress belongs to the other stream"
    printed: dict[str, object] = json.loads(done.stdout)
    assert json.loads(out.read_text()) == printed
    return printed


def test_every_stage_is_measured_in_order(document: dict) -> None:
    assert [stage["stage"] for stage in document["stages"]] == STAGES
    assert document["ratings"] == 5000
    for stage in document["stages"]:
        assert stage["wall_s"] > 0
        assert stage["cpu_s"] > 0
        assert stage["rows_per_s"] > 0
        assert stage["peak_rss_mb"] >= stage["import_rss_mb"] > 0


def test_the_document_has_the_documented_keys(document: dict) -> None:
    assert document.keys() >= KEYS
    for stage in document["stages"]:
        assert stage.keys() >= STAGE_KEYS


def results(document: dict) -> dict[str, dict[str, Any]]:
    """Returns the results of the stages without their measurements."""
    return {
        stage["stage"]: {k: v for k, v in stage["facts"].items() if k not in MEASURED}
        for stage in document["stages"]
    }


def test_totals_add_up_over_stages(document: dict) -> None:
    walls = [stage["wall_s"] for stage in document["stages"]]
    assert document["total_wall_s"] == pytest.approx(sum(walls), abs=0.01)
    assert document["peak_rss_mb"] == max(stage["peak_rss_mb"] for stage in document["stages"])


def test_stages_with_a_reference_measured_it(document: dict) -> None:
    by_name = {stage["stage"]: stage for stage in document["stages"]}
    for name in ("fetch", "preprocess", "load"):
        stage = by_name[name]
        assert stage["reference_wall_s"] > 0
        assert stage["ratio"] == pytest.approx(
            stage["reference_wall_s"] / stage["wall_s"], rel=0.05, abs=0.01
        )
    for name in ("vectors", "index"):
        assert by_name[name]["reference_wall_s"] is None
        assert by_name[name]["reference_note"]


def test_the_lower_bound_is_computed_from_measured_limits(document: dict) -> None:
    assert all(value > 0 for value in document["machine"]["limits"].values())
    for stage in document["stages"][:-1]:
        assert stage["floor_s"] > 0
        assert stage["times_floor"] > 0


def test_a_zip_is_measured_without_the_reference(ml_latest_small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--source", str(ml_latest_small), "--no-reference", "--out", str(out), "--json"]
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert json.loads(out.read_text()) == document
    assert document["ratings"] == 100_836
    assert document["sample_s"] is None
    assert all(stage["reference_wall_s"] is None for stage in document["stages"])


def test_a_second_run_without_a_dense_matrix_that_does_not_fit_gives_the_same_results(
    document: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MAX_REFERENCE_CELLS", 10)
    done = run.run_benchmark(ratings=5000)
    preprocess = done.stages[1]
    assert preprocess.reference_wall_s is None
    assert "cells" in (preprocess.reference_note or "")

    # Facts include digests of the features and of the table of vectors.
    again = results(done.model_dump(mode="json"))
    assert again == results(document)
    assert again["preprocess"]["sha256"].keys() >= {"interactions.parquet"}
    assert len(again["load"]["digest"]) == 64


def test_a_failed_stage_raises_its_last_line_of_output() -> None:
    with pytest.raises(BenchmarkError) as caught:
        run_stage("fetch", {"source": "x"}, module="recsys.benchmark.stages.fetch")
    assert "missing" in str(caught.value)


def test_memory_and_time_are_measured_for_each_stage_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hungry.py").write_text(
        "def eat(megabytes):\n"
        "    block = b'x' * (megabytes * 10**6)\n"
        "    return {'n': len(block)}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    little = run_stage("eat", {"megabytes": 1}, module="hungry")
    much = run_stage("eat", {"megabytes": 200}, module="hungry")
    assert isinstance(much, Measured)
    assert much.facts == {"n": 200 * 10**6}
    assert 150 < much.peak_rss_mb - little.peak_rss_mb < 260
    assert little.peak_rss_mb < 60, "the tests' own memory must not be counted"
