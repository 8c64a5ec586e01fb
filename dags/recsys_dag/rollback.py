"""The DAG for operators: makes an earlier release the champion again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from recsys_dag import failures, run_alerts, tasks, timeouts
from recsys_dag.assets import release_outlet
from recsys_dag.defaults import START_DATE, tags, task_defaults

if TYPE_CHECKING:
    from recsys.recommenders import Description

DOC = """
# Roll back to an earlier release

Makes an earlier release the champion again: model and vectors as one pair, without recomputing
anything. Leave *release* empty to go back to the previous champion. Nothing changes if the release
is not retained, or if its files or tables have changed since. The release that is rolled back is
not promoted again automatically. `recsys rollback` does the same without Airflow.
"""


def make_rollback_dag(recommender: Description) -> DAG:
    """Makes the DAG with which operators roll a recommender back."""
    with DAG(
        dag_id=recommender.namespace.rollback_dag,
        description="Makes an earlier release the champion again",
        doc_md=DOC,
        schedule=None,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timeouts.all_tries(timeouts.DEFAULT),
        on_failure_callback=run_alerts.alert_run_failed,
        tags=tags(recommender),
        default_args=task_defaults(recommender),
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
        tasks.roll_back.override(
            outlets=[release_outlet(recommender.name)],
            on_failure_callback=[tasks.recover_at_once, failures.note_error],
        )()
    return dag
