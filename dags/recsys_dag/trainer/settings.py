"""Settings of the trainer's launcher, pod and container.

They are read from the environment when a DAG file is parsed, because operators are constructed
then.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigurationError
from recsys.recommenders import Description
from recsys_dag.environment import read

IMAGE_VARIABLE: Final = "recsys_trainer_image"
"""Airflow Variable with the trainer's image, or set ``AIRFLOW_VAR_RECSYS_TRAINER_IMAGE``."""

TRAINER_IMAGE: Final = "{{ ti.xcom_pull(task_ids='data_is_new', key='trainer_image') }}"
"""The image that data_is_new has read, for all tasks of the run."""

RELEASE_LABEL: Final = "recsys.io/release"
"""Label of Jobs and containers: the release that they train."""
FORWARD_LABEL: Final = "recsys.io/forward"
"""Label of the container that predicts for the forward test of this release's run."""
RESERVED_LABELS: Final = {"app.kubernetes.io/name", "app.kubernetes.io/part-of", RELEASE_LABEL}

IMAGE_BY_DIGEST = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]{0,254}@(?P<digest>sha256:[0-9a-f]{64})")


class Launcher(StrEnum):
    """How the trainer is started."""

    LOCAL = "local"
    """A child process of the task, as in the one-machine stack."""
    KUBERNETES = "kubernetes"
    DOCKER = "docker"
    """A container on the machine of the task, as in Compose without Kubernetes."""


class LauncherSettings(BaseSettings):
    """Environment: ``RECSYS_TRAINER_LAUNCHER``, ``RECSYS_TRAINER_WORKERS``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_TRAINER_", env_ignore_empty=True)

    launcher: Launcher = Launcher.LOCAL
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="pods that train one release; more than 1 run as an Indexed Job",
    )


class VerifierSettings(BaseSettings):
    """Environment: ``RECSYS_VERIFIER_IMAGE``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_VERIFIER_", env_ignore_empty=True)

    image: str | None = Field(
        default=None,
        pattern=rf"^{IMAGE_BY_DIGEST.pattern}$",
        description="image by digest that checks and measures candidates; None: the trainer's, "
        "whose code then takes part in its own examination",
    )


class PodSettings(BaseSettings):
    """The trainer's pod; environment: ``RECSYS_TRAINER_POD_*``.

    The template defines the rest: security context, volumes, default resources.
    """

    model_config = SettingsConfigDict(env_prefix="RECSYS_TRAINER_POD_", env_ignore_empty=True)

    conn_id: str = Field(
        default="kubernetes_default", description="Airflow Connection to the cluster"
    )
    namespace: str = Field(default="recsys", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    template: Path = Field(
        default=Path(__file__).resolve().parents[3] / "k8s" / "trainer-pod.yaml",
        description="pod template file, on the machine of the task",
    )
    secret: str = Field(
        default="recsys-trainer-s3",
        description="Kubernetes Secret whose keys become the pod's environment",
    )
    workload_identity: bool = Field(
        default=False,
        description="no Secret: the pod's service account has access to S3 (IRSA, pod identity)",
    )
    deferrable: bool = Field(
        default=False, description="wait in the triggerer instead of occupying a worker"
    )
    startup_timeout_s: int = Field(default=600, gt=0, description="until the pod must be running")
    deadline_s: int | None = Field(
        default=None,
        gt=0,
        description="until Kubernetes kills the pod; None: from the limit of its task",
    )
    grace_s: int = Field(default=60, gt=0, description="between SIGTERM and SIGKILL")
    resources: dict[Literal["requests", "limits"], dict[str, str]] = Field(
        default_factory=dict,
        description='merged with those of the template, e.g. {"limits": {"nvidia.com/gpu": "1"}}',
    )
    node_selector: dict[str, str] = Field(default_factory=dict)
    affinity: dict[str, Any] | None = Field(default=None, description="V1Affinity as JSON")
    tolerations: list[dict[str, Any]] = Field(
        default_factory=list, description="V1Toleration as JSON, e.g. for a pool of GPU nodes"
    )
    service_account: str | None = Field(
        default=None, description="service account; by default that of the template"
    )
    pull_secrets: list[str] = Field(
        default_factory=list, description='Secrets of the registry as JSON, e.g. ["registry"]'
    )
    priority_class: str | None = Field(default=None, description="name of a PriorityClass")
    labels: dict[str, str] = Field(
        default_factory=dict, description="more labels as JSON, e.g. for a chargeback"
    )
    annotations: dict[str, str] = Field(
        default_factory=dict, description="more annotations as JSON, e.g. for a service mesh"
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="more variables as JSON; they replace those that Airflow passes on",
    )

    @field_validator("labels")
    @classmethod
    def _not_selectors(cls, labels: dict[str, str]) -> dict[str, str]:
        # The network policies and the Service of the workers select pods by these.
        if reserved := labels.keys() & RESERVED_LABELS:
            raise ValueError(f"the label {min(reserved)} is set by the template or the task")
        return labels


class ContainerSettings(BaseSettings):
    """The trainer's Docker container; environment: ``RECSYS_TRAINER_DOCKER_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_TRAINER_DOCKER_", env_ignore_empty=True)

    url: str = Field(default="unix://var/run/docker.sock", description="the Docker engine")
    network: str | None = Field(default=None, description="Docker network with the S3 server")
    memory: str = Field(default="4g", pattern=r"^[1-9][0-9]*[kmg]$")
    cpus: float = Field(default=2.0, gt=0)
    env: dict[str, str] = Field(
        default_factory=dict,
        description="more variables as JSON; they replace those that Airflow passes on",
    )
    mounts: dict[str, str] = Field(
        default_factory=dict,
        description="files of the engine's host to mount read-only, by path in the container",
    )


def label_value(recommender: Description, release_id: str) -> str:
    """Returns the value of the labels: what has it belongs to a try of the same training.

    Two recommenders may make releases of the same id, and must not end each other's trainings.
    """
    if recommender.namespace.is_first:
        return release_id
    return f"{recommender.name}.{release_id}"


def launcher() -> Launcher:
    """Returns the launcher; local by default."""
    return read(LauncherSettings).launcher


def workers() -> int:
    """Returns the number of workers that train one release.

    Raises:
        ConfigurationError: more than one worker without the Kubernetes launcher.
    """
    found = read(LauncherSettings)
    if found.workers > 1 and found.launcher != Launcher.KUBERNETES:
        raise ConfigurationError(
            "RECSYS_TRAINER_WORKERS needs Kubernetes",
            found=f"{found.workers} workers with RECSYS_TRAINER_LAUNCHER={found.launcher}",
            hint="set RECSYS_TRAINER_LAUNCHER=kubernetes, or train with one worker",
        )
    return found.workers


def digest_of(image: str) -> str:
    """Returns the digest of ``name@sha256:...``; a tag does not identify a build, it can move.

    Raises:
        ConfigurationError: the image has no digest.
    """
    match = IMAGE_BY_DIGEST.fullmatch(image)
    if match is None:
        raise ConfigurationError(
            f"the Airflow Variable {IMAGE_VARIABLE} names no image by digest",
            found=image or "no image",
            expected="name@sha256:<64 hex digits>",
            hint="the workflow that pushes the trainer's image prints it; see docs/deployment.md",
        )
    return match["digest"]
