"""The DAG that runs every five minutes: recovery, retirement, alerts, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule, chain

from recsys_dag import run_alerts, tasks, timeouts
from recsys_dag.assets import release_outlet
from recsys_dag.defaults import START_DATE, tags, task_defaults

if TYPE_CHECKING:
    from recsys.recommenders import Description

DOC = """
# Recovery and housekeeping, every five minutes

- **recover_promotion** undoes an interrupted promotion. `recsys recover` does the same without
  Airflow.
- **announce_release** emits the asset `recsys_release/{name}` if the command line or the
  releases page changed the live release.
- **retire_old_releases** drops tables and objects of old releases.
- **check_freshness** fails if no run has succeeded for `RECSYS_MAX_AGE_DAYS` (15 by default).
- **send_heartbeat** pings the heartbeat URL if the tasks above succeeded. Its monitor raises the
  alarm if the pings stop, for instance because Airflow is down.
- **send_alerts** sends each event of the history once.
- **measure_ledger** sends the metrics of the dashboard.
"""


def make_recover_dag(recommender: Description) -> DAG:
    """Makes the DAG that recovers a recommender, every five minutes."""
    with DAG(
        dag_id=recommender.namespace.recover_dag,
        description="Recovers from interrupted promotions and retires old releases",
        doc_md=DOC.format(name=recommender.name),
        schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timeouts.HOUSEKEEPING,
        on_failure_callback=run_alerts.alert_run_failed,
        tags=tags(recommender),
        default_args={**task_defaults(recommender), "retries": 1},
    ) as dag:
        checks = [tasks.recover_promotion(), tasks.retire_old_releases(), tasks.check_freshness()]
        chain(*checks, tasks.send_heartbeat())
        outlet = release_outlet(recommender.name)
        checks[0] >> tasks.announce_release.override(inlets=[outlet], outlets=[outlet])()
        for publish in (tasks.send_alerts, tasks.measure_ledger):
            checks >> publish.override(trigger_rule=TriggerRule.ALL_DONE)()
    return dag
