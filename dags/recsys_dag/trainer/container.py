"""Runs the trainer as a Docker container, for Compose without Kubernetes."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from http.client import CONFLICT
from typing import Any

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from docker.errors import APIError, DockerException, NotFound
from docker.types import Mount

from recsys.contract import ENV_SEAL
from recsys.errors import ConfigurationError, TransientError
from recsys.trainer_process import failure
from recsys_dag import descriptions, tasks
from recsys_dag.trainer.settings import (
    FORWARD_LABEL,
    RELEASE_LABEL,
    TRAINER_IMAGE,
    ContainerSettings,
    label_value,
)

_STATUS_CODE = re.compile(r"'StatusCode': (\d+)")
_TAIL_LINES = 20
_GRACE_S = 60


class TrainerContainer(DockerOperator):
    """Runs one subcommand of the trainer in a container.

    A container that succeeds is not trusted: verify_candidate checks the manifest that it wrote.

    Args:
        subcommand: ``train``, ``verify`` or ``forward``.
        container_settings: Docker engine, network and resources.
        image: that of the trainer, or of the verifier.
        kwargs: other arguments of the operator.
    """

    def __init__(
        self,
        *,
        subcommand: str,
        container_settings: ContainerSettings,
        image: str = TRAINER_IMAGE,
        **kwargs: Any,
    ) -> None:
        self.subcommand = subcommand
        self.container_settings = container_settings
        super().__init__(
            image=image,
            command=[subcommand],
            docker_url=container_settings.url,
            network_mode=container_settings.network,
            mem_limit=container_settings.memory,
            cpus=container_settings.cpus,
            mounts=[
                Mount(target=target, source=source, type="bind", read_only=True)
                for target, source in container_settings.mounts.items()
            ],
            mount_tmp_dir=False,
            auto_remove="force",
            do_xcom_push=False,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Runs the container, unless the release is already trained."""
        trainer_input = tasks.begin_trainer(self.subcommand, context)
        if trainer_input is None:
            return None
        self.environment = trainer_input.to_environment()
        seal = self.environment.pop(ENV_SEAL, None)
        # Private: Airflow's UI shows the rendered field `environment`, and a proxy may have a
        # password.
        others = tasks.forwarded_environment() | self.container_settings.env
        self._private_environment = {
            **{name: value for name, value in others.items() if name not in self.environment},
            **tasks.trainer_secrets(),
            **({ENV_SEAL: seal} if seal else {}),
        }
        # The forward test's container runs beside the training, which must not end it.
        label = FORWARD_LABEL if self.subcommand == "forward" else RELEASE_LABEL
        value = label_value(descriptions.of(context), trainer_input.release_id)
        self.labels = {label: value}
        try:
            self._end_earlier(f"{label}={value}")
            return super().execute(context)
        except DockerContainerFailedException as error:
            code = _STATUS_CODE.search(str(error))
            tail = [str(line) for line in (error.logs or [])][-_TAIL_LINES:]
            raise failure(self.subcommand, int(code[1]) if code else 70, tail) from error
        except NotFound as error:
            if "No such container" in str(error):
                raise TransientError(
                    "the trainer's container is gone",
                    found=str(error),
                    hint="check who removed it; the next try starts another container",
                ) from error
            # A missing image is the only other cause of NotFound; the engine does not name it.
            raise ConfigurationError(
                "the trainer's image was not found",
                found=str(error),
                expected=self.image,
                hint="build or pull it, or correct the Airflow Variable recsys_trainer_image",
            ) from error
        except (DockerException, AirflowException) as error:
            # The hook raises AirflowException if no engine answers.
            raise TransientError(
                "the Docker engine failed",
                found=str(error),
                hint="check RECSYS_TRAINER_DOCKER_URL, and that the engine is running",
            ) from error

    def _end_earlier(self, selector: str) -> None:
        """Ends the containers of this release that a killed try left: two must not write it.

        SIGTERM lets a training store a checkpoint, from which the new container resumes.
        """
        deadline = time.monotonic() + 2 * _GRACE_S
        while left := self.cli.containers(all=True, filters={"label": [selector]}):
            for container in left:
                self.log.info("ending the container %s of an earlier try", container["Id"])
                with suppress(NotFound):
                    self.cli.stop(container["Id"], timeout=_GRACE_S)
                try:
                    self.cli.remove_container(container["Id"], force=True)
                except NotFound:
                    pass
                except APIError as error:
                    # Another client is removing it.
                    if error.status_code != CONFLICT:
                        raise
            if time.monotonic() >= deadline:
                raise TransientError(
                    "the trainer's container of an earlier try is still there",
                    found=", ".join(container["Id"] for container in left),
                    hint="remove it with docker rm --force; the next try checks again",
                )
            time.sleep(0.2)
