"""A typing error in --set is one usage error, before anything is read or trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys.cli.app import app


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("rating.epoch=3", "did you mean rating.epochs"),
        ("ratings.epochs=3", "did you mean rating.epochs"),
        ("rankng.epochs=3", "did you mean ranking.epochs?"),
        ("epochs=3", "did you mean rating.epochs or ranking.epochs"),
        ("rating.epochs=many", "correct rating.epochs"),
        ("rating.epochs", "did you mean rating.epochs"),
        ("[/x]=1", "e.g. rating.epochs=12"),
    ],
)
def test_a_typing_error_is_one_usage_error(
    assignment: str, meant: str, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Its settings need only what this environment has.
    monkeypatch.setenv("RECSYS_TRAINER_PYTHON", sys.executable)
    monkeypatch.setenv("RECSYS_ROOT", str(repository))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    # No such dataset: it would be an error if it were read.
    arguments = ["train", "--source", str(tmp_path / "none.zip"), "--set", assignment]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    said = done.stderr
    assert said.count("Invalid value for --set") == 1
    assert meant in " ".join(said.split())
    assert assignment in said
    assert "exit code" not in said


def test_a_setting_of_the_part_that_is_not_trained_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECSYS_TRAINER_PYTHON", sys.executable)
    monkeypatch.setenv("RECSYS_ROOT", str(repository))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    for command in (("train",), ("evaluate", "--split", "temporal-10")):
        arguments = [*command, "--source", str(tmp_path / "none.zip"), "--only", "rating"]
        done = CliRunner().invoke(
            app, [*arguments, "--set", "ranking.epochs=3"], env={"COLUMNS": "200"}
        )
        assert done.exit_code == 2, done.output
        assert "ranking.epochs=3 has no effect with --only rating" in done.stderr
