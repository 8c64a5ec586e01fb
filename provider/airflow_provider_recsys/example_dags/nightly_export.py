"""Example: another team exports the live movie vectors every night.

It waits until the recommender has a release that is not older than two weeks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, task

from airflow_provider_recsys.hooks.recommender import RecommenderVectorsHook
from airflow_provider_recsys.sensors.release import ReleaseSensor


@task
def export_vectors(release: Any, **context: Any) -> int:
    """Writes the live vectors to a CSV file, which appears complete or not at all."""
    from pathlib import Path

    target = Path(context["params"]["folder"]) / f"{release['release_id']}.csv"
    partial = target.with_suffix(".partial")
    rows = 0
    statement = "copy (select movieid, vector from movie_vectors order by movieid) to stdout csv"
    with RecommenderVectorsHook().get_conn() as conn, partial.open("wb") as file:
        with conn.cursor().copy(statement) as lines:
            for line in lines:
                file.write(line)
                rows += bytes(line).count(b"\n")
    partial.replace(target)
    return rows


with DAG(
    dag_id="example_recsys_nightly_export",
    description="Another team's nightly export of the live movie vectors",
    schedule=CronTriggerTimetable("0 3 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=8),
    default_args={"retries": 2, "execution_timeout": timedelta(minutes=30)},
    params={"folder": Param("/tmp", type="string", minLength=1)},  # noqa: S108  a Param's default
    tags=["example", "recsys"],
) as dag:
    recent = ReleaseSensor(
        task_id="wait_for_recent_release",
        max_age=timedelta(days=14),
        timeout=timedelta(hours=4).total_seconds(),
        execution_timeout=None,
    )
    export_vectors(recent.output)
