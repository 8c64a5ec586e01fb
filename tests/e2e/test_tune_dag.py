"""The search for settings as a DAG: mapped trials, with a trainer whose optimum is known."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from recsys.dataset import write_sample

# The error is least at recency 1; the trainer's own is 0.
TRAINER = """#!{python}
import json, sys
from pathlib import Path
recency = 0.0
for flag, value in zip(sys.argv, sys.argv[1:]):
    if flag == "--set" and value.startswith("rating.recency="):
        recency = float(value.partition("=")[2])
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(exist_ok=True)
(out / "metrics.json").write_text(json.dumps({{"model": {{"rmse": 0.8 + (recency - 1) ** 2}}}}))
(out / "training_history.json").write_text("[]")
(out / "lineage.json").write_text("{{}}")
"""


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "python"
    script.write_text(TRAINER.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("RECSYS_TRAINER_PYTHON", str(script))
    path = tmp_path / "sample.zip"
    write_sample(path, ratings=1000)
    return path


def test_trials_run_side_by_side_and_the_best_settings_are_printed(
    airflow_db, sample: Path
) -> None:
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys_tune"]

    run = dag.test(run_conf={"source": str(sample), "objective": "rmse", "trials": 4, "seed": 3})

    assert str(run.state) == "success"
    tasks = run.get_task_instances()
    mapped = [task for task in tasks if task.task_id == "measure_trial"]
    assert len(mapped) == 5
    found = next(task for task in tasks if task.task_id == "choose_settings").xcom_pull(
        task_ids="choose_settings"
    )
    assert found["defaults"] == pytest.approx(1.8)
    assert found["best"] == min(trial["value"] for trial in found["trials"])
    recency = found["build_settings"]["trainer"]["overrides"]["rating"]["recency"]
    assert found["best"] == pytest.approx(0.8 + (recency - 1) ** 2)
