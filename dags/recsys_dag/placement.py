"""Placement of tasks on Airflow's workers: pool, queue, memory.

The settings are read when a DAG file is parsed, because operators are constructed then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.configuration import conf
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_dag import environment

if TYPE_CHECKING:
    from kubernetes.client import V1Pod

    from recsys.recommenders import Description

Weight = Literal["light", "features"]
"""``features``: tasks that process all interactions or vectors; ``light``: all others."""

_QUANTITY = r"^[1-9][0-9]*(Mi|Gi)$"
_CPU = r"^[1-9][0-9]*m?$"


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
    cpu_light: str = Field(default="250m", pattern=_CPU)
    cpu_features: str = Field(default="1", pattern=_CPU)
    memory_light: str = Field(default="1Gi", pattern=_QUANTITY)
    memory_features: str = Field(default="4Gi", pattern=_QUANTITY)


def placement(weight: Weight, recommender: Description | None) -> dict[str, Any]:
    """Returns the operator arguments that place a task of a recommender.

    Memory is requested only with the KubernetesExecutor, where each task has its own pod; other
    executors ignore or reject it.

    Raises:
        ConfigurationError: a setting is invalid.
    """
    settings = environment.read(PlacementSettings)
    light = weight == "light"
    queue = settings.queue_light if light else settings.queue_features
    chosen: dict[str, Any] = {"pool": settings.pool}
    if recommender is not None:
        own = recommender.placement
        queue = (own.queue_light if light else own.queue_features) or queue
        chosen["pool"] = own.pool or settings.pool
    if queue:
        chosen["queue"] = queue
    if "KubernetesExecutor" in conf.get("core", "executor", fallback=""):
        cpu = settings.cpu_light if light else settings.cpu_features
        memory = settings.memory_light if light else settings.memory_features
        chosen["executor_config"] = {"pod_override": task_pod_override(cpu, memory)}
    return chosen


def task_pod_override(cpu: str, memory: str) -> V1Pod:
    """Returns the resources of a task's pod: the executor puts them in place of the template's.

    Args:
        cpu: CPU that is requested.
        memory: memory that is requested, and the limit.
    """
    # The import takes a second.
    from kubernetes.client import V1Container, V1Pod, V1PodSpec, V1ResourceRequirements

    # Request and limit are equal, so that a node is never overcommitted.
    resources = V1ResourceRequirements(
        requests={"cpu": cpu, "memory": memory}, limits={"memory": memory}
    )
    return V1Pod(spec=V1PodSpec(containers=[V1Container(name="base", resources=resources)]))
