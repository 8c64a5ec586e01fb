"""Settings of the engine that computes features; read when a DAG file is parsed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys_dag import environment

_ROOT: Final = Path(__file__).resolve().parents[3]


class Engine(StrEnum):
    """Engines that compute interactions, statistics and movie vectors."""

    LOCAL = "local"
    """The task's own process."""
    SPARK = "spark"
    """spark-submit as a child of the task: Spark on this machine, a standalone cluster, YARN."""
    SPARK_KUBERNETES = "spark-kubernetes"
    """A SparkApplication of the Spark operator of Kubernetes."""


class EngineSettings(BaseSettings):
    """The engine; environment: ``RECSYS_FEATURES_ENGINE``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_FEATURES_", env_ignore_empty=True)

    engine: Engine = Engine.LOCAL


class SparkSettings(BaseSettings):
    """Settings of spark-submit; environment: ``RECSYS_SPARK_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_SPARK_", env_ignore_empty=True)

    submit: Path = Field(
        default=_ROOT / "spark" / ".venv" / "bin" / "spark-submit",
        description="spark-submit of an environment with the recsys wheel",
    )
    master: str = Field(default="local[*]", pattern=r"^(local|spark:|yarn|k8s:)[^\s]*$")
    conf: dict[str, str] = Field(
        default_factory=dict, description='Spark properties, e.g. {"spark.executor.memory": "8g"}'
    )


class SparkPodSettings(BaseSettings):
    """Settings of a SparkApplication; environment: ``RECSYS_SPARK_POD_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_SPARK_POD_", env_ignore_empty=True)

    conn_id: str = Field(
        default="kubernetes_default", description="Airflow connection of the cluster"
    )
    namespace: str = Field(default="recsys", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    template: Path = Field(
        default=_ROOT / "k8s" / "spark-application.yaml",
        description="file with the SparkApplication, on the machine of the task",
    )
    image: str = Field(
        pattern=r"^[a-z0-9][a-zA-Z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}$",
        description="image of Spark with the recsys wheel, with digest",
    )
    executors: int = Field(default=4, ge=1)
    startup_timeout_s: int = Field(
        default=600, gt=0, description="seconds until the driver must run"
    )


def engine() -> Engine:
    """Reads the engine from the environment; local by default."""
    settings: EngineSettings = environment.read(EngineSettings)
    return settings.engine
