"""Placement of tasks on Airflow's workers: pool, queue, memory.

The settings are read when a DAG file is parsed, because operators are constructed then.
"""

from __future__ import annotations

from typing import Any, Literal

from airflow.sdk.configuration import conf
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_dag import environment

Weight = Literal["light", "features"]
"""``features``: tasks that process all interactions or vectors; ``light``: all others."""

_QUANTITY = r"^[1-9][0-9]*(Mi|Gi)$"


class PlacementSettings(BaseSettings):
    """Pool, queues and memory of the tasks; environment: ``RECSYS_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", env_ignore_empty=True)

    pool: str = Field(
        default="default_pool",
        description="Airflow pool of all tasks; a pool per tenant limits its share of the slots",
    )
    queue_light: str | None = Field(
        default=None, description="Celery queue; None: Airflow's default queue"
    )
    queue_features: str | None = None
    memory_light: str = Field(default="1Gi", pattern=_QUANTITY)
    memory_features: str = Field(default="4Gi", pattern=_QUANTITY)


def placement(weight: Weight) -> dict[str, Any]:
    """Returns the operator arguments that place a task.

    Memory is requested only with the KubernetesExecutor, where each task has its own pod; other
    executors ignore or reject it.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    settings = environment.read(PlacementSettings)
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
    # The import takes a second.
    from kubernetes.client import V1Container, V1Pod, V1PodSpec, V1ResourceRequirements

    # Request and limit are equal, so that a node is never overcommitted.
    resources = V1ResourceRequirements(requests={"memory": memory}, limits={"memory": memory})
    return V1Pod(spec=V1PodSpec(containers=[V1Container(name="base", resources=resources)]))
