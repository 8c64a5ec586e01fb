"""The DAG for operators: checks each Connection by using it."""

from __future__ import annotations

from airflow.sdk import DAG, task

from recsys.errors import ConfigurationError
from recsys_dag import run_alerts, timeouts
from recsys_dag.defaults import START_DATE, task_defaults

DOC = """
# Check all connections

Trigger it after a change of servers, accounts or network rules. Each Connection is a task of its
own, and fails with what was tried, what was found and what to do. An object is written, read and
deleted in the bucket, a query of nearest neighbors is run in the database, the md5 of the dataset
is read. No alert is sent to a channel as a test: `recsys alerts --test` does that.
`recsys doctor --connections` does the same on the command line.
"""


@task
def list_connections() -> list[str]:
    """Returns the ids of the Connections that the pipeline uses."""
    from recsys_dag import connection_checks

    return connection_checks.connection_names()


@task
def check_connection(name: str) -> str:
    """Uses one Connection; fails with what was tried and what to do."""
    from airflow.sdk import get_current_context

    from recsys_dag import connection_checks

    # For map_index_template; the type of the context lists only Airflow's own keys.
    get_current_context()["connection"] = name  # type: ignore[typeddict-unknown-key]
    checked = connection_checks.check(name)
    if not checked.works:
        raise ConfigurationError(str(checked))
    return str(checked)


with DAG(
    dag_id="recsys_check_connections",
    description="Checks each Connection by using it",
    doc_md=DOC,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timeouts.HOUSEKEEPING,
    on_failure_callback=run_alerts.alert_run_failed,
    tags=["recsys", "movies"],
    default_args={**task_defaults(None), "retries": 1},
) as dag:
    check_connection.override(map_index_template="{{ connection }}").expand(name=list_connections())
