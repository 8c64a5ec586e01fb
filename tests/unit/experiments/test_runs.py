"""Local trainings are kept with the gate's verdict, and compared side by side."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys.cli import output
from recsys.cli.app import app
from recsys.contract import Metrics
from recsys.errors import ConfigurationError
from recsys.experiments import (
    LocalRun,
    Part,
    compare_runs,
    find_run,
    keep_run,
    list_runs,
    local_verdict,
)
from tests.metrics_maker import GOOD, put, with_rmse


def keep(folder: Path, minute: int, document: dict[str, Any] = GOOD, **other: Any) -> LocalRun:
    facts: dict[str, Any] = {
        "dataset": "ml.zip",
        "dataset_md5": "d" * 32,
        "settings": (),
        "config": {"rating": {"epochs": 12, "factors": 64}, "ranking": {"decay": 0.2}},
        "seed": 20,
        "champion": None,
        "fit_s": 1.5,
        "metrics": Metrics.model_validate(document),
    }
    at = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
    return keep_run(folder, at, **facts | other)


def test_the_verdict_is_that_of_the_gate() -> None:
    assert local_verdict(Metrics.model_validate(GOOD)).accepted
    worse = local_verdict(Metrics.model_validate(with_rmse(GOOD, 2.0)))
    assert not worse.accepted
    assert "rmse_against_bias" in {rule.name for rule in worse.rules if not rule.passed}


@pytest.mark.parametrize(
    ("only", "path", "bad", "rule", "left_out"),
    [
        (Part.RATING, ("model", "ndcg@10"), 0.0, "rmse_against_bias", "ndcg_against_popularity"),
        (Part.RANKING, ("model", "rmse"), 5.0, "ndcg_against_popularity", "rmse_against_bias"),
    ],
)
def test_a_verdict_on_one_part_is_partial_and_says_so(
    tmp_path: Path, only: Part, path: tuple[str, ...], bad: float, rule: str, left_out: str
) -> None:
    run = keep(tmp_path, 1, put(GOOD, path, bad), only=only)
    [stored] = list_runs(tmp_path)
    assert stored == run
    assert run.verdict.reason.startswith(f"partial, because only {only} was trained: ")
    names = {one.name for one in run.verdict.rules}
    assert rule in names
    assert left_out not in names
    assert run.metrics.model.value(path[1]) is None
    document = json.loads(run.metrics.to_json())
    other = "ndcg" if only is Part.RATING else "rmse"
    assert other not in json.dumps(document["confidence"])
    assert other in json.dumps(document["baselines"]), "baselines were measured completely"


def test_runs_are_listed_newest_first_and_found_by_the_beginning_of_their_id(
    tmp_path: Path,
) -> None:
    first, second = keep(tmp_path, 1), keep(tmp_path, 2)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert list_runs(tmp_path) == [second, first]
    assert find_run(tmp_path, "latest") == second
    assert find_run(tmp_path, first.run_id[:15]) == first
    for name in ("20260101", "nothing"):
        with pytest.raises(ConfigurationError, match="run is named so"):
            find_run(tmp_path, name)


def test_metrics_are_compared_with_intervals_and_changed_settings(tmp_path: Path) -> None:
    better = put(put(GOOD, ("model", "rmse"), 0.8), ("model", "ndcg@10"), 0.12)
    changed = {"rating": {"epochs": 20, "factors": 64}, "ranking": {"decay": 0.2}}
    found = compare_runs(keep(tmp_path, 1), keep(tmp_path, 2, better, config=changed, seed=21))
    rows = {name: row for name, *row in found.metrics}
    assert rows["rmse"] == [0.85, 0.8, pytest.approx(0.8 / 0.85 - 1), "second"]
    assert rows["ndcg@10"][-1] == "first"
    assert rows["mae"][-1] == ""
    assert found.intervals["rmse"] == ((0.83, 0.87), (0.83, 0.87))
    assert found.settings == [("rating.epochs", 12, 20), ("seed", 20, 21)]
    assert found.same_holdout


@pytest.mark.parametrize(
    "other", [{"dataset_md5": "e" * 32}, {"document": put(GOOD, ("holdout", "rows"), 7)}]
)
def test_another_holdout_is_named(tmp_path: Path, other: dict[str, Any]) -> None:
    assert not compare_runs(keep(tmp_path, 1), keep(tmp_path, 2, **other)).same_holdout


def test_the_command_shows_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    # The console has read its width if an earlier test of this process has printed.
    monkeypatch.setattr(output.console, "width", 200)
    runner = CliRunner(env={"COLUMNS": "200"})
    assert "no training is kept yet" in runner.invoke(app, ["experiments", "list"]).output
    folder = tmp_path / "training" / "runs"
    first = keep(folder, 1)
    second = keep(folder, 2, with_rmse(GOOD, 2.0), settings=("rating.epochs=1",))

    listed = runner.invoke(app, ["experiments", "list"]).output
    assert first.run_id in listed
    assert "rejected" in listed
    shown = runner.invoke(app, ["experiments", "show", "latest"]).output
    assert "dataset ml.zip" in shown
    assert "rating.epochs=1" in shown
    compared = runner.invoke(app, ["experiments", "compare", first.run_id, second.run_id]).output
    assert "0.8500 (0.8300 to 0.8700)" in compared
    assert "all settings are the same" in compared
    document = json.loads(
        runner.invoke(app, ["experiments", "compare", first.run_id, "latest", "--json"]).output
    )
    assert document["second"] == second.run_id
    hostile = keep(folder, 3, dataset="<script>1</script>.zip", config={"<b>": "<i>x</i>"})
    page = tmp_path / "page.html"
    for names in (["show", "latest"], ["compare", first.run_id, hostile.run_id]):
        done = runner.invoke(app, ["experiments", *names, "--html", str(page)])
        assert done.exit_code == 0, done.output
        text = page.read_text()
        assert text.count("<svg") >= 2
        assert "&lt;script&gt;" in text
        assert "<script" not in text
    assert "&lt;b&gt;" in text
    refused = runner.invoke(app, ["experiments", "list", "--html", str(page)])
    assert refused.exit_code == 2
    wrong = runner.invoke(app, ["experiments", "compare", "latest"])
    assert isinstance(wrong.exception, ConfigurationError)
