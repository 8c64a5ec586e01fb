"""Airflow's scheduler and DAG processor send what the rules about them query.

The rest is sent when tasks run, by the triggerer, or when something is wrong:
test_exported_names.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.receivers import StatsD
from tests.statsd_exporter import Series, exported

WANTED: Series = {
    "airflow_scheduler_heartbeat_total": set(),
    "airflow_dag_processor_heartbeat_total": set(),
    "airflow_scheduler_loop_duration_seconds_bucket": {"le"},
    "airflow_scheduler_tasks_starving": set(),
    "airflow_scheduler_tasks_executable": set(),
    "airflow_executor_open_slots": {"executor_class_name"},
    "airflow_executor_queued_tasks": {"executor_class_name"},
    "airflow_pool_open_slots": {"pool_name"},
    "airflow_pool_scheduled_slots": {"pool_name"},
    "airflow_dag_processing_parse_seconds": set(),
    "airflow_dag_processing_import_errors": set(),
    "airflow_dagbag_size": set(),
}


@pytest.mark.timeout(600)
def test_the_components_send_what_the_rules_query(repository: Path, tmp_path: Path) -> None:
    compose = yaml.safe_load((repository / "docker-compose.yaml").read_text())["services"]
    settings = compose["airflow-scheduler"]["environment"]
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "one.py").write_text(
        "from airflow.sdk import DAG\nwith DAG('one', schedule=None):\n    pass\n"
    )
    with StatsD() as receiver:
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("AIRFLOW")},
            **{n: v for n, v in settings.items() if n.startswith("AIRFLOW__METRICS__")},
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(receiver.port),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0",
            # Of the DAG processor: with the default of 5 s its only loop may end before one is due.
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "0",
            "AIRFLOW__SCHEDULER__POOL_METRICS_INTERVAL": "0.1",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
        }
        for command in (
            ["-c", "from airflow.utils.db import initdb; initdb()"],
            ["-m", "airflow", "dag-processor", "--num-runs", "1"],
            ["-m", "airflow", "scheduler", "--num-runs", "5", "--skip-serve-logs"],
        ):
            done = subprocess.run(
                [sys.executable, *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            assert "StatsClient" not in done.stdout + done.stderr
    mapping = yaml.safe_load((repository / "docker/monitoring/statsd.yaml").read_text())
    series = exported(receiver.samples, mapping["mappings"])
    assert sorted(set(WANTED) - set(series)) == []
    assert {name: labels - series[name] for name, labels in WANTED.items()} == {
        name: set() for name in WANTED
    }
