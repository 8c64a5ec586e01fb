"""Tasks that compute features on Spark; they exist only if the engine setting selects Spark.

A Spark task runs before the local task of the same purpose and writes its results to the store. The
local task finds them there and does not compute them again. So no other task depends on the engine.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import task

from recsys.errors import TransientError
from recsys_dag import descriptions, environment, settings, tasks
from recsys_dag.features import settings as features_settings
from recsys_dag.features.settings import Engine, SparkPodSettings, SparkSettings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.xcom_arg import XComArg

    from recsys.pipeline import Run

log = logging.getLogger(__name__)

TaskId = Literal["spark_data_frames", "spark_movie_vectors"]
_SUBCOMMANDS: dict[TaskId, Literal["frames", "vectors"]] = {
    "spark_data_frames": "frames",
    "spark_movie_vectors": "vectors",
}


def features_task(task_id: TaskId, **kwargs: Any) -> list[BaseOperator | XComArg]:
    """Returns the Spark task of the configured engine; an empty list for the local engine.

    Args:
        task_id: id of the task.
        kwargs: other arguments of the operator.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    engine = features_settings.engine()
    if engine == Engine.LOCAL:
        return []
    if engine == Engine.SPARK:
        spark_tasks = {
            "spark_data_frames": spark_data_frames,
            "spark_movie_vectors": spark_movie_vectors,
        }
        return [spark_tasks[task_id].override(**kwargs)()]
    from recsys_dag.features.spark import FeaturesOnSpark

    return [
        FeaturesOnSpark(
            task_id=task_id,
            subcommand=_SUBCOMMANDS[task_id],
            pod_settings=environment.read(SparkPodSettings),
            **kwargs,
        )
    ]


@task
def spark_data_frames(**context: Any) -> None:
    """Validates the dataset and writes its features to S3, on Spark."""
    _submit("frames", tasks.run_of(context))


@task
def spark_movie_vectors(**context: Any) -> None:
    """Computes the movie vectors on Spark and writes them to S3."""
    _submit("vectors", tasks.run_of(context))


def _submit(subcommand: Literal["frames", "vectors"], run: Run) -> None:
    from recsys import pipeline
    from recsys.spark.submit import SparkSubmit

    submit: SparkSettings = environment.read(SparkSettings)
    spark = SparkSubmit(submit.submit, submit.master, submit.conf)
    services = settings.services(descriptions.current())
    heartbeat = pipeline.Heartbeat(services, run)
    heartbeat.beat()

    def on_line(line: str) -> None:
        log.info(line)
        # A job that has lost the database goes on: the next step reports it.
        with suppress(TransientError):
            heartbeat.beat()

    spark.run(subcommand, run.build.dataset_md5, run.features, services.s3, on_line)
