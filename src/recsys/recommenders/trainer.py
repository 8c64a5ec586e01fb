"""How a recommender's trainer runs: fields that a description and the variables have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

RELEASE_LABEL: Final = "recsys.io/release"
"""Label of Jobs and containers: the release that they train."""
RESERVED_LABELS: Final = frozenset(
    {"app.kubernetes.io/name", "app.kubernetes.io/part-of", RELEASE_LABEL}
)
DIGEST_PATTERN: Final = r"sha256:[0-9a-f]{64}"
IMAGE_PATTERN: Final = r"[a-z0-9][a-zA-Z0-9._:/-]{0,254}@"

ImageByDigest = Annotated[
    str,
    Field(
        pattern=f"^{IMAGE_PATTERN}{DIGEST_PATTERN}$",
        description="image by digest, name@sha256:...: a tag does not identify a build",
    ),
]


class Launcher(StrEnum):
    """How the trainer is started."""

    LOCAL = "local"
    """A child process of the task, as in the one-machine stack."""
    KUBERNETES = "kubernetes"
    DOCKER = "docker"
    """A container on the machine of the task, as in Compose without Kubernetes."""


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PodFields(_Fields):
    """A trainer's pod. The template of the installation defines the rest."""

    conn_id: str = Field(
        default="kubernetes_default", description="Airflow Connection to the cluster"
    )
    namespace: str = Field(
        default="recsys",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="by default recsys-<name>, with - for _; that of the first one is recsys",
    )
    secret: str = Field(
        default="recsys-trainer-s3",
        description="Kubernetes Secret whose keys become the pod's environment; by default "
        "recsys-<name>-trainer-s3; that of the first one is recsys-trainer-s3",
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
    affinity: dict[str, Any] | None = Field(default=None, description="V1Affinity")
    tolerations: list[dict[str, Any]] = Field(
        default_factory=list, description="V1Toleration, e.g. for a pool of GPU nodes"
    )
    service_account: str | None = Field(
        default=None, description="service account; by default that of the template"
    )
    pull_secrets: list[str] = Field(
        default_factory=list, description='Secrets of the registry, e.g. ["registry"]'
    )
    priority_class: str | None = Field(default=None, description="name of a PriorityClass")
    labels: dict[str, str] = Field(
        default_factory=dict, description="more labels, e.g. for a chargeback"
    )
    annotations: dict[str, str] = Field(
        default_factory=dict, description="more annotations, e.g. for a service mesh"
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="more variables; they replace those that Airflow passes on",
    )

    @field_validator("labels")
    @classmethod
    def _not_selectors(cls, labels: dict[str, str]) -> dict[str, str]:
        # The network policies and the Service of the workers select pods by these.
        if reserved := labels.keys() & RESERVED_LABELS:
            raise ValueError(f"the label {min(reserved)} is set by the template or the task")
        return labels


class ContainerFields(_Fields):
    """A trainer's Docker container."""

    network: str | None = Field(default=None, description="Docker network with the S3 server")
    memory: str = Field(default="4g", pattern=r"^[1-9][0-9]*[kmg]$")
    cpus: float = Field(default=2.0, gt=0)
    env: dict[str, str] = Field(
        default_factory=dict,
        description="more variables; they replace those that Airflow passes on",
    )


class Trainer(_Fields):
    """How its trainer runs. What is left out is as the variables ``RECSYS_TRAINER_*`` say."""

    launcher: Launcher | None = Field(
        default=None, description="how it is started: local, kubernetes or docker"
    )
    image: ImageByDigest | None = Field(
        default=None, description="its image by digest, in place of that of the Airflow Variable"
    )
    verifier_image: ImageByDigest | None = Field(
        default=None, description="image by digest that checks and measures its candidates"
    )
    workers: int | None = Field(
        default=None, ge=1, le=64, description="pods that train one release, on Kubernetes"
    )
    timeout_hours: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="hours that a training may take, with its wait for a machine",
    )
    kubernetes: PodFields = Field(
        default=PodFields(), description="its pod, as RECSYS_TRAINER_POD_*"
    )
    docker: ContainerFields = Field(
        default=ContainerFields(), description="its container, as RECSYS_TRAINER_DOCKER_*"
    )

    @model_validator(mode="after")
    def _workers_are_pods(self) -> Self:
        if (self.workers or 1) > 1 and self.launcher not in (None, Launcher.KUBERNETES):
            raise ValueError(f"several workers need launcher kubernetes, not {self.launcher}")
        return self
