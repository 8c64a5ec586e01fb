"""Maintenance of a real Airflow's metadata and logs, as the services and CronJobs start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

_OLD_RUNS = """
from datetime import timedelta
from airflow.utils.db import initdb
initdb()
from airflow import settings
from airflow.models.log import Log
from airflow.utils.session import create_session
from airflow._shared.timezones import timezone
with create_session() as session:
    for days in (200, 100, 10):
        row = Log(event="test", extra=f"{days} days")
        row.dttm = timezone.utcnow() - timedelta(days=days)
        session.add(row)
"""
_LEFT = """
from airflow.models.log import Log
from airflow.utils.session import create_session
with create_session() as session:
    print(sorted(r.extra for r in session.query(Log) if r.event == "test"))
"""


def write(file: Path, days: float) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("log")
    age(file, days)
    return file


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def test_old_rows_and_logs_are_deleted_and_new_ones_are_kept(
    repository: Path, tmp_path: Path
) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
    }

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    made = python("-c", _OLD_RUNS)
    assert made.returncode == 0, made.stderr[-2000:]
    logs = tmp_path / "logs"
    old = write(logs / "dag_id=x/run_id=1/task_id=t/attempt=1.log", 91)
    new = write(logs / "dag_id=x/run_id=2/task_id=t/attempt=1.log", 89)
    empty = logs / "dag_id=y"
    empty.mkdir()
    age(empty, 91)
    outside = write(tmp_path / "outside/file.log", 400)
    (logs / "latest").symlink_to(outside.parent)
    (logs / "dangling").symlink_to(logs / "gone")
    age(new.parent, 91)

    script = str(repository / "docker/airflow/maintain.py")
    done = python(script, "--keep-days", "90")
    assert done.returncode == 0, done.stdout + done.stderr
    left = python("-c", _LEFT)
    assert left.stdout.strip().splitlines()[-1] == "['10 days']", left.stderr[-2000:]
    assert not old.exists()
    assert new.exists()
    assert not empty.exists()
    assert outside.exists(), "a link was followed"
    assert "deleted 1 logs" in done.stdout


def test_a_database_that_cannot_be_cleaned_is_a_failure(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "docker/airflow/maintain.py"), "--keep-days", "1"],
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/none/airflow.db",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "airflow db clean failed" in done.stderr


def test_keeping_nothing_is_refused(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "docker/airflow/maintain.py"), "--keep-days", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "found 0, expected at least 1" in done.stderr
