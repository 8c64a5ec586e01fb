"""Runs the trainer as a Docker container, for Compose without Kubernetes."""

from __future__ import annotations

import os
import re
from typing import Any

from airflow.providers.docker.exceptions import DockerContainerFailedException
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from docker.errors import DockerException, NotFound

from recsys.errors import ConfigurationError, TransientError
from recsys.trainer_process import CHECKSUM_VARIABLES, failure
from recsys_dag import tasks
from recsys_dag.trainer.settings import ContainerSettings

_STATUS_CODE = re.compile(r"'StatusCode': (\d+)")
_TAIL_LINES = 20


class TrainerContainer(DockerOperator):
    """Runs one subcommand of the trainer in a container.

    A container that succeeds is not trusted: verify_candidate checks the manifest that it wrote.

    Args:
        subcommand: ``train`` or ``verify``.
        container_settings: Docker engine, network and resources.
        kwargs: other arguments of the operator.
    """

    def __init__(
        self, *, subcommand: str, container_settings: ContainerSettings, **kwargs: Any
    ) -> None:
        self.subcommand = subcommand
        super().__init__(
            image="{{ ti.xcom_pull(task_ids='data_is_new', key='trainer_image') }}",
            command=[subcommand],
            docker_url=container_settings.url,
            network_mode=container_settings.network,
            mem_limit=container_settings.memory,
            cpus=container_settings.cpus,
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
        checksums = {name: os.environ[name] for name in CHECKSUM_VARIABLES if name in os.environ}
        self.environment = trainer_input.to_environment() | checksums
        # Private: Airflow's UI shows the rendered field `environment`.
        self._private_environment = tasks.trainer_secrets()
        try:
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
