"""Runs the trainer as a pod. The import takes a second; only the Kubernetes launcher needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import PodLaunchFailedException
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    PodLaunchTimeoutException,
    PodNotFoundException,
)
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import (
    V1Affinity,
    V1EnvFromSource,
    V1LocalObjectReference,
    V1Pod,
    V1SecretEnvSource,
)
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from recsys.contract import TrainerInput
from recsys.errors import ConfigurationError, RecsysError, TransientError
from recsys_dag import tasks
from recsys_dag.trainer.pod_failure import explain_api, explain_pod
from recsys_dag.trainer.resources import resources
from recsys_dag.trainer.settings import TRAINER_IMAGE, PodSettings

CONTAINER: Final = "trainer"


def pod_arguments(
    subcommand: str, pod_settings: PodSettings, image: str = TRAINER_IMAGE
) -> dict[str, Any]:
    """Returns the operator arguments for the trainer's pod, or for a worker of its Job."""
    return {
        "name": f"recsys-{subcommand}",
        "image": image,
        "arguments": [subcommand],
        "kubernetes_conn_id": pod_settings.conn_id,
        "namespace": pod_settings.namespace,
        "pod_template_file": str(pod_settings.template),
        "base_container_name": CONTAINER,
        "env_from": _secrets(pod_settings),
        "container_resources": resources(pod_settings),
        "node_selector": pod_settings.node_selector,
        "affinity": _affinity(pod_settings.affinity),
        "tolerations": pod_settings.tolerations,
        "service_account_name": pod_settings.service_account,
        "image_pull_secrets": [
            V1LocalObjectReference(name=name) for name in pod_settings.pull_secrets
        ],
        "priority_class_name": pod_settings.priority_class,
        "labels": dict(pod_settings.labels),
        "annotations": dict(pod_settings.annotations),
        "automount_service_account_token": False,
        "deferrable": pod_settings.deferrable,
        "startup_timeout_seconds": pod_settings.startup_timeout_s,
        "active_deadline_seconds": pod_settings.deadline_s,
        "termination_grace_period": pod_settings.grace_s,
        # The last log lines become the termination message of a failed container.
        "termination_message_policy": "FallbackToLogsOnError",
        # The manifest is the result. The sidecar for XCom can hang.
        "do_xcom_push": False,
        # The spec contains the environment.
        "log_pod_spec_on_failure": False,
        "log_events_on_failure": True,
    }


def _secrets(pod_settings: PodSettings) -> list[V1EnvFromSource]:
    if pod_settings.workload_identity:
        return []
    return [V1EnvFromSource(secret_ref=V1SecretEnvSource(name=pod_settings.secret))]


def pod_environment(trainer_input: TrainerInput, pod_settings: PodSettings) -> dict[str, str]:
    """Returns the trainer's variables, except secrets, which the pod gets by reference."""
    return tasks.forwarded_environment() | pod_settings.env | trainer_input.to_environment()


def _affinity(affinity: dict[str, Any] | None) -> V1Affinity | dict[str, Any] | None:
    """Accepts the names of a manifest (nodeAffinity) and those of Python (node_affinity)."""
    if affinity and affinity.keys() <= V1Affinity.openapi_types.keys():
        return V1Affinity(**affinity)
    return affinity


class TrainerPod(KubernetesPodOperator):
    """Runs one subcommand of the trainer in a pod.

    A pod that succeeds is not trusted: verify_candidate checks the manifest that it wrote.

    Args:
        subcommand: ``train``, ``verify`` or ``forward``.
        pod_settings: settings of the pod.
        image: that of the trainer, or of the verifier.
        kwargs: other arguments of the operator.
    """

    def __init__(
        self,
        *,
        subcommand: str,
        pod_settings: PodSettings,
        image: str = TRAINER_IMAGE,
        **kwargs: Any,
    ) -> None:
        self.subcommand = subcommand
        self.pod_settings = pod_settings
        super().__init__(
            random_name_suffix=True,
            durable=True,
            on_finish_action="delete_pod",
            **pod_arguments(subcommand, pod_settings, image),
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Runs the pod, unless the release is already trained."""
        trainer_input = tasks.begin_trainer(self.subcommand, context)
        if trainer_input is None:
            return None
        self.env_vars = pod_environment(trainer_input, self.pod_settings)
        with explained(self):
            return super().execute(context)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Continues after the triggerer saw the end of the pod."""
        with explained(self):
            return super().trigger_reentry(context, event)

    def cleanup(
        self,
        pod: V1Pod,
        remote_pod: V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Deletes the pod; raises an error made from its last status if it failed."""
        last_seen = self._read(remote_pod) if remote_pod else None
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            raise explain_pod(last_seen, CONTAINER, self.subcommand) or _unexplained(
                error
            ) from error

    def _read(self, pod: V1Pod) -> V1Pod | None:
        """Returns the current pod; None if it was deleted."""
        try:
            return self.client.read_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
        except (ApiException, HTTPError) as error:
            # If reading fails, the status that was read before is the best information.
            return None if getattr(error, "status", None) == 404 else pod


@contextmanager
def explained(operator: KubernetesPodOperator) -> Iterator[None]:
    """Translates Kubernetes errors within a block into errors with a hint."""
    try:
        yield
    except RecsysError:
        raise
    except (PodLaunchFailedException, PodLaunchTimeoutException, PodNotFoundException) as error:
        raise _unexplained(error) from error
    except ApiException as error:
        raise explain_api(error, operator.namespace or "default") from error
    except ConfigException as error:
        raise ConfigurationError(
            "the Kubernetes cluster is not configured",
            found=str(error),
            hint=f"correct the Airflow Connection {operator.kubernetes_conn_id}",
        ) from error
    except HTTPError as error:
        raise TransientError(
            "the Kubernetes API does not answer",
            found=str(error),
            hint=f"check the cluster of the Airflow Connection {operator.kubernetes_conn_id}",
        ) from error


def _unexplained(error: Exception) -> TransientError:
    return TransientError(
        "the trainer's pod failed",
        found=str(error),
        hint="run kubectl describe pod, and read the task's log",
    )
