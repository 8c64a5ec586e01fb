"""What the process of a run gets: nothing secret in its arguments, which all accounts can read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recsys.embedded import airflow, runs
from recsys.embedded.home import Home

SOURCE = "https://ann:s3cret@files.example.org/ml.zip?X-Amz-Signature=s1gned"
# In place of the interpreter that would start Airflow.
RECORDER = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
(here / "arguments").write_text(" ".join(sys.argv))
(here / "conf").write_text(sys.stdin.read())
end = {{"event": "end", "run_id": "a", "state": "success", "reason": ""}}
os.write(int(sys.argv[-1]), json.dumps(end).encode())
"""


def test_the_source_of_a_run_is_no_argument_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = tmp_path / "python"
    recorder.write_text(RECORDER.format(python=sys.executable))
    recorder.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(recorder))
    monkeypatch.setattr(airflow, "migrate", lambda home: None)
    monkeypatch.setattr(airflow, "environment", lambda home: {})
    result = runs.run_once(Home(tmp_path / "home"), "movie_rec_sys", {"source": SOURCE})
    assert result.succeeded
    assert json.loads((tmp_path / "conf").read_text()) == {"source": SOURCE}
    arguments = (tmp_path / "arguments").read_text()
    assert "movie_rec_sys --conf - --events" in arguments
    assert "s3cret" not in arguments
    assert "s1gned" not in arguments


def test_modules_in_the_working_directory_do_not_replace_those_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("airflow", "recsys_dag", "argparse"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the folder')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(airflow, "migrate", lambda home: None)
    monkeypatch.setattr(airflow, "environment", lambda home: {"AIRFLOW_HOME": str(tmp_path / "a")})
    result = runs.run_once(Home(tmp_path / "home"), "no_dag", {})
    # The run's own code is reached, which refuses the name.
    assert "the DAG no_dag belongs to no recommender" in result.errors["the process"]
