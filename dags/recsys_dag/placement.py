"""Where a task runs among the workers of Airflow: pool, queue, memory.

Read from the environment when a DAG file is parsed: a task's shape is fixed then.
"""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk.configuration import conf
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_dag import environment

Weight = Literal["light", "features"]
"""Tasks that compute on all interactions or vectors, and all the others."""

_QUANTITY = r"^[1-9][0-9]*(Mi|Gi)$"


class PlacementSettings(BaseSettings):
    """Share of the workers that these tasks get; environment: ``RECSYS_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", env_ignore_empty=True)

    pool: str = Field(
        default="default_pool",
        description="Airflow pool of all tasks; one for each tenant bounds what it takes of all",
    )
    queue_light: str | None = Field(default=None, description="Celery queue; None: Airflow's own")
    queue_features: str | None = None
    memory_light: str = Field(default="1Gi", pattern=_QUANTITY)
    memory_features: str = Field(default="4Gi", pattern=_QUANTITY)


def placement(weight: Weight) -> dict[str, Any]:
    """Arguments for any operator.

    Memory is asked for where each task has a pod of its own, that is under the
    KubernetesExecutor; others ignore it or refuse it.

    Raises:
        ConfigurationError: a setting makes no sense.
    """
    settings: PlacementSettings = environment.read(PlacementSettings)
    light = weight == "light"
    queue = settings.queue_light if light else settings.queue_features
    chosen: dict[str, Any] = {"pool": settings.pool}
    if queue:
        chosen["queue"] = queue
    if "KubernetesExecutor" in conf.get("core", "executor", fallback=""):
        memory = settings.memory_light if light else settings.memory_features
        chosen["executor_config"] = {"pod_override": _pod(memory)}
    return chosen


def _pod(memory: str) -> Any:
    # Costs a second, so only where it is used.
    from kubernetes.client import V1Container, V1Pod, V1PodSpec, V1ResourceRequirements

    # Equal, so that a node never promises memory that it does not have.
    resources = V1ResourceRequirements(requests={"memory": memory}, limits={"memory": memory})
    return V1Pod(spec=V1PodSpec(containers=[V1Container(name="base", resources=resources)]))
