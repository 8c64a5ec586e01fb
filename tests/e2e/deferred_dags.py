"""DAGs that train in pods and wait for them in the triggerer; a test puts this file among the DAGs.

The test passes what the weekly DAG finds out in ``data_is_new``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, chain, task

from recsys_dag.trainer.job import TrainerJob
from recsys_dag.trainer.pod import TrainerPod
from recsys_dag.trainer.settings import PodSettings

SETTINGS = PodSettings(deferrable=True)


def one_training(dag_id: str, operator: type[BaseOperator], **how: Any) -> DAG:
    """A DAG that trains one release and does nothing else."""
    with DAG(
        dag_id,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        tags=["recommender:movie_rec_sys"],
        params={"run": Param({}, type="object"), "image": Param("", type="string")},
    ) as dag:

        @task(task_id="data_is_new")
        def begin(**context: Any) -> None:
            context["ti"].xcom_push(key="run", value=context["params"]["run"])
            context["ti"].xcom_push(key="trainer_image", value=context["params"]["image"])

        chain(begin(), operator(task_id="train_dl_model", pod_settings=SETTINGS, **how))
    return dag


pod = one_training("deferred_pod", TrainerPod, subcommand="train", poll_interval=1)
job = one_training("deferred_job", TrainerJob, workers=2, job_poll_interval=1)
