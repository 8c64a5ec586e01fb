"""A short DAG with the id and the Params of the weekly one, which asks for approval at once.

The browser tests copy it into the folder of a running Airflow, with the run beside it as JSON.
``data_is_new`` pushes that run, where the real task looks for a new build. With the Param ``fails``
it raises an error.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, chain, task

from recsys.errors import DatasetError
from recsys_dag import descriptions
from recsys_dag.approval import ReleaseApproval
from recsys_dag.defaults import START_DATE, task_defaults
from recsys_dag.params import pipeline_params

MOVIES = descriptions.named("movie_rec_sys")
RUN = Path(__file__).with_suffix(".json")


@task
def data_is_new(**context: Any) -> None:
    """Pushes the run, or fails."""
    if context["params"]["fails"]:
        raise DatasetError("no <b>data</b> today", found="an empty zip", hint="ask the publisher")
    context["ti"].xcom_push(key="run", value=json.loads(RUN.read_text()))


# A test does not wait as long for another try as the weekly run does.
SOON = {"retry_delay": timedelta(seconds=2), "retry_exponential_backoff": False}

with DAG(
    dag_id="movie_rec_sys",
    schedule=None,
    start_date=START_DATE,
    default_args=task_defaults(MOVIES) | SOON,
) as dag:
    ends = [EmptyOperator(task_id=name) for name in ("promote_release", "reject_candidate")]
    chain(
        data_is_new(), ReleaseApproval(task_id="approve_release", limit=timedelta(hours=72)), ends
    )

dag.params.update(
    {**pipeline_params(MOVIES), "fails": Param(False, type="boolean", section="Test")}
)
