"""The small, frequent DAG: heals, retires, and watches that runs succeed."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule, chain

from recsys_dag import tasks
from recsys_dag.defaults import START_DATE, TAGS, task_defaults

DOC = """
# Heals what a crash left behind

Every five minutes: undoes an interrupted promotion (**recover_promotion**), drops what old releases
hold (**retire_old_releases**), and fails when no run has succeeded for too long
(**check_freshness**; `RECSYS_MAX_AGE_DAYS`, by default 15). `recsys recover` does the first without
Airflow. **send_alerts** tells what happened, each event once; **send_heartbeat** says that all is
well, so that its silence is an alarm when Airflow is dead. **measure_ledger** feeds the dashboard.
"""

with DAG(
    dag_id="movie_rec_sys_recover",
    description="Heals interrupted promotions and retires old releases",
    doc_md=DOC,
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    tags=TAGS,
    default_args={**task_defaults(), "retries": 1},
) as dag:
    watched = [tasks.recover_promotion(), tasks.retire_old_releases(), tasks.check_freshness()]
    chain(*watched, tasks.send_heartbeat())
    for told in (tasks.send_alerts, tasks.measure_ledger):
        watched >> told.override(trigger_rule=TriggerRule.ALL_DONE)()
