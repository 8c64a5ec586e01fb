"""The operator's DAG: champion back to a chosen release."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from recsys_dag import tasks
from recsys_dag.defaults import START_DATE, TAGS, task_defaults

DOC = """
# Back to an earlier release

Makes an earlier release the champion again, model and vectors as one pair, without computing
anything anew. Leave *release* empty for the one before the champion. A release that is not
retained, or whose files or tables are not what they were, is refused and nothing changes. The
release left behind is not promoted again by itself. `recsys rollback` does the same without
Airflow.
"""

with DAG(
    dag_id="movie_rec_sys_rollback",
    description="Makes an earlier release the champion again",
    doc_md=DOC,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    tags=TAGS,
    default_args=task_defaults(),
    params={
        "release": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9a-f]{8}-[0-9a-f]{8}$",
            title="Release",
            description="A retained release; empty: the one before the champion",
        ),
        "reason": Param(
            None,
            type=["null", "string"],
            minLength=3,
            title="Reason",
            description="Required; kept in the ledger's history",
        ),
    },
) as dag:
    tasks.roll_back.override(on_failure_callback=tasks.recover_at_once)()
