"""The DAG that erases users: it records the request, and runs the pipeline without them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, TriggerRule, chain

from recsys_dag import run_alerts, tasks, timeouts
from recsys_dag.defaults import START_DATE, tags, task_defaults

if TYPE_CHECKING:
    from recsys.recommenders import Description

_LARGEST_EXACT = 2**53 - 1
"""The largest number up to which JavaScript, and so Airflow's form, has every whole one."""
DOC = """
# Erase users

1. **request_erasure** records the users and hides them from readers at once. Without *users*, the
   pending requests are continued.
2. **build_without_users** runs {name}, unless the live release does not know the users. The
   gate decides as usual; the absence of these users is no drift.
3. **erase_users** deletes every release that knows them, with its files and tables, and searches
   everything for what is left.
4. **certify_erasure** stores a certificate below `erasures/`, signed if there is a signing key.

If the gate rejects the new release, **erase_users** fails and says so, and the users stay hidden.

Airflow keeps the parameters of a run in its own database, with the ids. To keep them out of it,
record the request with `recsys erase`, and trigger this DAG without *users*.
"""


def make_erase_dag(recommender: Description) -> DAG:
    """Makes the DAG that erases users of a recommender."""
    with DAG(
        dag_id=recommender.namespace.erase_dag,
        description="Erases users: hides them, releases without them, deletes what knows them",
        doc_md=DOC.format(name=recommender.name),
        schedule=None,
        start_date=START_DATE,
        catchup=False,
        max_active_runs=1,
        on_failure_callback=run_alerts.alert_run_failed,
        tags=tags(recommender),
        default_args=task_defaults(recommender),
        params={
            "users": Param(
                [],
                type="array",
                # A browser rounds longer numbers, so that another user would be erased.
                items={
                    "type": ["integer", "string"],
                    "minimum": 1,
                    "maximum": _LARGEST_EXACT,
                    "pattern": "^[1-9][0-9]{0,18}$",
                },
                title="Users",
                description="Ids of the users, in quotes above 9007199254740991; empty: continue "
                "the pending requests",
            ),
            "reason": Param(
                None,
                type="string",
                minLength=3,
                title="Reason",
                description="Required; recorded with the request, so without the ids",
            ),
        },
    ) as dag:
        # Its import costs a task of this DAG 0.5 s of CPU, and 0.03 s in the DAG processor, which
        # has Airflow's models already.
        build = TriggerDagRunOperator(
            task_id="build_without_users",
            trigger_dag_id=recommender.namespace.weekly_dag,
            wait_for_completion=True,
            poke_interval=30,
            deferrable=True,
            # Longer than a run with its retries takes; the next run of this DAG goes on.
            execution_timeout=timedelta(days=3),
            # A run of the pipeline is retried by its own tasks.
            retries=1,
        )
        erase = tasks.erase_users.override(
            execution_timeout=timeouts.FEATURES,
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )()
        request = tasks.request_erasure()
        request >> [build, erase]
        chain(build, erase, tasks.certify_erasure.override(execution_timeout=timeouts.FEATURES)())
    return dag
