"""Settings of the trainer's launcher, pod and container.

They are read from the environment when a DAG file is parsed, because operators are constructed
then.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigurationError
from recsys.recommenders import (
    DIGEST_PATTERN,
    IMAGE_PATTERN,
    ContainerFields,
    Description,
    Launcher,
    PodFields,
    own_pod_fields,
)
from recsys.recommenders import RELEASE_LABEL as RELEASE_LABEL
from recsys_dag.environment import read

IMAGE_VARIABLE: Final = "recsys_trainer_image"
"""Airflow Variable with the trainer's image, or set ``AIRFLOW_VAR_RECSYS_TRAINER_IMAGE``."""

TRAINER_IMAGE: Final = "{{ ti.xcom_pull(task_ids='data_is_new', key='trainer_image') }}"
"""The image that data_is_new has read, for all tasks of the run."""

FORWARD_LABEL: Final = "recsys.io/forward"
"""Label of the container that predicts for the forward test of this release's run."""
IMAGE_BY_DIGEST: Final = re.compile(f"{IMAGE_PATTERN}(?P<digest>{DIGEST_PATTERN})")


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
        pattern=f"^{IMAGE_BY_DIGEST.pattern}$",
        description="image by digest that checks and measures candidates; None: the trainer's, "
        "whose code then takes part in its own examination",
    )


class PodSettings(PodFields, BaseSettings):
    """The trainer's pod; environment: ``RECSYS_TRAINER_POD_*``.

    The template defines the rest: security context, volumes, default resources.
    """

    model_config = SettingsConfigDict(env_prefix="RECSYS_TRAINER_POD_", env_ignore_empty=True)

    template: Path = Field(
        default=Path(__file__).resolve().parents[3] / "k8s" / "trainer-pod.yaml",
        description="pod template file, on the machine of the task",
    )


class ContainerSettings(ContainerFields, BaseSettings):
    """The trainer's Docker container; environment: ``RECSYS_TRAINER_DOCKER_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_TRAINER_DOCKER_", env_ignore_empty=True)

    url: str = Field(default="unix://var/run/docker.sock", description="the Docker engine")
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


def launcher(recommender: Description) -> Launcher:
    """Returns what starts a recommender's trainer; local by default."""
    return recommender.trainer.launcher or read(LauncherSettings).launcher


def workers(recommender: Description) -> int:
    """Returns the number of workers that train one release.

    Raises:
        ConfigurationError: more than one worker without the Kubernetes launcher.
    """
    found = recommender.trainer.workers or read(LauncherSettings).workers
    if found > 1 and (kind := launcher(recommender)) != Launcher.KUBERNETES:
        raise ConfigurationError(
            "RECSYS_TRAINER_WORKERS needs Kubernetes",
            found=f"{found} workers with RECSYS_TRAINER_LAUNCHER={kind}, for {recommender.name}",
            hint="set RECSYS_TRAINER_LAUNCHER=kubernetes, or train with one worker; both can be "
            "in the recommender's description",
        )
    return found


def verifier_image(recommender: Description) -> str | None:
    """Returns the image that checks a recommender's candidates; None: the trainer's."""
    return recommender.trainer.verifier_image or read(VerifierSettings).image


def pod_settings(recommender: Description) -> PodSettings:
    """Returns the settings of a recommender's pod: those of its description come first.

    The namespace and the Secret that the variables name are those of the first recommender.
    """
    return read(PodSettings).model_copy(update=own_pod_fields(recommender))


def container_settings(recommender: Description) -> ContainerSettings:
    """Returns the settings of a recommender's container: those of its description come first."""
    own = recommender.trainer.docker.model_dump(exclude_unset=True)
    return read(ContainerSettings).model_copy(update=own)


def digest_of(image: str, variable: str = IMAGE_VARIABLE) -> str:
    """Returns the digest of ``name@sha256:...``; a tag does not identify a build, it can move.

    Args:
        image: the image.
        variable: the Airflow Variable that it is from.

    Raises:
        ConfigurationError: the image has no digest.
    """
    match = IMAGE_BY_DIGEST.fullmatch(image)
    if match is None:
        raise ConfigurationError(
            f"the Airflow Variable {variable} names no image by digest",
            found=image or "no image",
            expected="name@sha256:<64 hex digits>",
            hint="the workflow that pushes the trainer's image prints it; see docs/deployment.md",
        )
    return match["digest"]
