"""The tasks that compute features on Spark: one setting says whether there are any.

A Spark task comes before the task of the same purpose. It leaves its results in the store, where
that task finds them and computes nothing itself: what comes after does not know the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import task

from recsys_dag import environment, settings, tasks
from recsys_dag.features import settings as features_settings
from recsys_dag.features.settings import Engine, SparkPodSettings, SparkSettings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.xcom_arg import XComArg

    from recsys.pipeline import Run

TaskId = Literal["spark_data_frames", "spark_movie_vectors"]
_SUBCOMMANDS: dict[TaskId, Literal["frames", "vectors"]] = {
    "spark_data_frames": "frames",
    "spark_movie_vectors": "vectors",
}


def features_task(task_id: TaskId, **kwargs: Any) -> list[BaseOperator | XComArg]:
    """The Spark task for the engine that the environment names; none for the local one.

    Args:
        task_id: which task.
        kwargs: as any operator takes them.

    Raises:
        ConfigurationError: a setting makes no sense.
    """
    engine = features_settings.engine()
    if engine == Engine.LOCAL:
        return []
    if engine == Engine.SPARK:
        shell = {"spark_data_frames": spark_data_frames, "spark_movie_vectors": spark_movie_vectors}
        return [shell[task_id].override(**kwargs)()]
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
    from recsys.spark.submit import SparkSubmit

    found: SparkSettings = environment.read(SparkSettings)
    spark = SparkSubmit(found.submit, found.master, found.conf)
    spark.run(subcommand, run.build.dataset_md5, run.features, settings.services().s3)
