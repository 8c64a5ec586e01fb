"""The trainer as a pod. Imported only where Kubernetes is the launcher: it costs a second."""

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
    V1Pod,
    V1ResourceRequirements,
    V1SecretEnvSource,
)
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from recsys.errors import ConfigurationError, RecsysError, TransientError
from recsys_dag import tasks
from recsys_dag.trainer.pod_failure import explain_api, explain_pod
from recsys_dag.trainer.settings import PodSettings

CONTAINER: Final = "trainer"


def pod_arguments(subcommand: str, pod_settings: PodSettings) -> dict[str, Any]:
    """What an operator is told of the trainer's pod, be it one or a worker among several."""
    return {
        "name": f"recsys-{subcommand}",
        "image": "{{ ti.xcom_pull(task_ids='data_is_new', key='trainer_image') }}",
        "arguments": [subcommand],
        "kubernetes_conn_id": pod_settings.conn_id,
        "namespace": pod_settings.namespace,
        "pod_template_file": str(pod_settings.template),
        "base_container_name": CONTAINER,
        "env_from": [V1EnvFromSource(secret_ref=V1SecretEnvSource(name=pod_settings.secret))],
        "container_resources": (
            V1ResourceRequirements(**pod_settings.resources) if pod_settings.resources else None
        ),
        "node_selector": pod_settings.node_selector,
        "affinity": V1Affinity(**pod_settings.affinity) if pod_settings.affinity else None,
        "tolerations": pod_settings.tolerations,
        "automount_service_account_token": False,
        "deferrable": pod_settings.deferrable,
        "startup_timeout_seconds": pod_settings.startup_timeout_s,
        "active_deadline_seconds": pod_settings.deadline_s,
        "termination_grace_period": pod_settings.grace_s,
        # The trainer's last words are the message of a container that failed.
        "termination_message_policy": "FallbackToLogsOnError",
        # The manifest decides, and the sidecar that XCom needs can hang.
        "do_xcom_push": False,
        # It would print the whole environment.
        "log_pod_spec_on_failure": False,
        "log_events_on_failure": True,
    }


class TrainerPod(KubernetesPodOperator):
    """One subcommand of the trainer in a pod; success is what the manifest says, not the pod.

    Args:
        subcommand: ``train`` or ``verify``.
        pod_settings: where and how.
        kwargs: as any operator takes them.
    """

    def __init__(self, *, subcommand: str, pod_settings: PodSettings, **kwargs: Any) -> None:
        self.subcommand = subcommand
        super().__init__(
            random_name_suffix=True,
            durable=True,
            on_finish_action="delete_pod",
            **pod_arguments(subcommand, pod_settings),
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Asks the domain what to do, and runs the pod if there is something to do."""
        given = tasks.begin_trainer(self.subcommand, context)
        if given is None:
            return None
        self.env_vars = given.to_environment()
        with explained(self):
            return super().execute(context)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Goes on where the triggerer saw the pod end."""
        with explained(self):
            return super().trigger_reentry(context, event)

    def cleanup(
        self,
        pod: V1Pod,
        remote_pod: V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Deletes the pod; a failed one is explained by what Kubernetes last said of it."""
        seen = self._read(remote_pod) if remote_pod else None
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            raise explain_pod(seen, CONTAINER, self.subcommand) or _unexplained(error) from error

    def _read(self, pod: V1Pod) -> V1Pod | None:
        """The pod as it is now; None: it is gone."""
        try:
            return self.client.read_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
        except (ApiException, HTTPError) as error:
            # What was read before says more than a failure to read again.
            return None if getattr(error, "status", None) == 404 else pod


@contextmanager
def explained(operator: KubernetesPodOperator) -> Iterator[None]:
    """Within this block, errors of Kubernetes say what to do."""
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
            "there is no way to the Kubernetes cluster",
            found=str(error),
            hint=f"mend the Airflow Connection {operator.kubernetes_conn_id}",
        ) from error
    except HTTPError as error:
        raise TransientError(
            "the Kubernetes API does not answer",
            found=str(error),
            hint=f"is the cluster that {operator.kubernetes_conn_id} names up?",
        ) from error


def _unexplained(error: Exception) -> TransientError:
    return TransientError(
        "the trainer's pod failed",
        found=str(error),
        hint="kubectl describe pod, or the task's log, tells more",
    )
