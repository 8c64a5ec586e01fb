"""Makes the tasks that run the trainer, with the operator for the configured launcher.

All launchers pass the same input (`recsys.pipeline.make_trainer_input`), and the result is the
manifest that the trainer writes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from recsys.recommenders import Launcher
from recsys_dag import tasks
from recsys_dag.timeouts import timeouts
from recsys_dag.trainer import settings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.xcom_arg import XComArg

    from recsys.recommenders import Description
    from recsys_dag.trainer.settings import PodSettings

_SUBCOMMANDS = {
    "train_dl_model": "train",
    "verify_candidate": "verify",
    "predict_newer_ratings": "forward",
}


def stars_task(recommender: Description, **kwargs: Any) -> list[BaseOperator | XComArg]:
    """Returns the task that predicts stars for forward_test, where that task cannot: not locally.

    If it fails, forward_test tests the rankings only, so it is tried twice and no longer.

    Args:
        recommender: whose task it is.
        kwargs: other arguments of the operator.
    """
    if settings.launcher(recommender) == Launcher.LOCAL:
        return []
    return [trainer_task("predict_newer_ratings", recommender, **{"retries": 1, **kwargs})]


def trainer_task(
    task_id: Literal["train_dl_model", "verify_candidate", "predict_newer_ratings"],
    recommender: Description,
    **kwargs: Any,
) -> BaseOperator | XComArg:
    """Makes the task for the configured launcher, with its time limit.

    Kubernetes and Docker libraries are imported only if the launcher needs them: every task
    process parses its DAG file.

    Args:
        task_id: the task.
        recommender: whose task it is.
        kwargs: other arguments of the operator.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    launcher, workers = settings.launcher(recommender), settings.workers(recommender)
    limits = timeouts(recommender)
    training = task_id == "train_dl_model"
    limit = limits.training if training else limits.verification
    kwargs = {"execution_timeout": limit, **kwargs}
    if launcher == Launcher.LOCAL:
        local = tasks.train_dl_model if training else tasks.verify_candidate
        return local.override(**kwargs)()
    if launcher == Launcher.KUBERNETES:
        pod_limit = limits.training_pod if training else limits.verification_pod
        pod_settings = _pod_settings(recommender, pod_limit)
    given = None if training else settings.verifier_image(recommender)
    kwargs |= {"image": given} if given else {}
    if launcher == Launcher.KUBERNETES and training and workers > 1:
        from recsys_dag.trainer.job import TrainerJob

        return TrainerJob(
            task_id=task_id,
            workers=workers,
            pod_settings=pod_settings,
            **kwargs,
        )
    if launcher == Launcher.KUBERNETES:
        from recsys_dag.trainer.pod import TrainerPod

        return TrainerPod(
            task_id=task_id,
            subcommand=_SUBCOMMANDS[task_id],
            pod_settings=pod_settings,
            **kwargs,
        )
    from recsys_dag.trainer.container import TrainerContainer

    return TrainerContainer(
        task_id=task_id,
        subcommand=_SUBCOMMANDS[task_id],
        container_settings=settings.container_settings(recommender),
        **kwargs,
    )


def _pod_settings(recommender: Description, limit: timedelta | None) -> PodSettings:
    found = settings.pod_settings(recommender)
    return found.model_copy(update={"deadline_s": limit and round(limit.total_seconds())})
