"""The DAG for operators: makes an earlier release the champion again."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from recsys_dag import failures, run_alerts, tasks, timeouts
from recsys_dag.defaults import START_DATE, TAGS, task_defaults

DOC = """
# Roll back to an earlier release

Makes an earlier release the champion again: model and vectors as one pair, without recomputing
anything. Leave *release* empty to go back to the previous champion. Nothing changes if the release
is not retained, or if its files or tables have changed since. The release that is rolled back is
not promoted again automatically. `recsys rollback` does the same without Airflow.
"""

with DAG(
    dag_id="movie_rec_sys_rollback",
    description="Makes an earlier release the champion again",
    doc_md=DOC,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timeouts.all_tries(timeouts.DEFAULT),
    on_failure_callback=run_alerts.alert_run_failed,
    tags=TAGS,
    default_args=task_defaults(),
    params={
        "release": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9a-f]{8}-[0-9a-f]{8}$",
            title="Release",
            description="Id of a retained release; empty: the previous champion",
        ),
        "reason": Param(
            None,
            # Without "null" the trigger form requires it, as the task does.
            type="string",
            minLength=3,
            title="Reason",
            description="Required; recorded in the ledger's history",
        ),
    },
) as dag:
    tasks.roll_back.override(on_failure_callback=[tasks.recover_at_once, failures.note_error])()
