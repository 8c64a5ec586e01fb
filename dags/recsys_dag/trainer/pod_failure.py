"""Makes an error from the status of a failed pod or from a response of the Kubernetes API.

The error is permanent if another pod would fail in the same way, else transient.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from recsys.errors import ConfigurationError, RecsysError, TransientError
from recsys.trainer_process import failure
from recsys_dag.pods import container_state, out_of_memory

if TYPE_CHECKING:
    from kubernetes.client import V1Pod
    from kubernetes.client.exceptions import ApiException

_CANNOT_START: Final = {
    "ErrImagePull": "the image cannot be pulled",
    "ImagePullBackOff": "the image cannot be pulled",
    "InvalidImageName": "the image's name is invalid",
    "ErrImageNeverPull": "the image is not on the node",
    "CreateContainerConfigError": "a Secret or ConfigMap of the pod is missing",
    "CreateContainerError": "the container cannot be created",
}


def explain_pod(pod: V1Pod | None, container: str, subcommand: str) -> RecsysError | None:
    """Returns the error for a pod's status.

    Args:
        pod: the pod as last read; None if it was deleted.
        container: name of the trainer's container.
        subcommand: the subcommand that it ran.

    Returns:
        None if the status does not explain the failure.
    """
    if pod is None or pod.status is None:
        return _gone("no status")
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    state = container_state(pod, container)
    if state and state.terminated:
        ended = state.terminated
        memory_error = out_of_memory(
            f"the trainer's pod {name}",
            ended,
            hint="raise limits.memory in RECSYS_TRAINER_POD_RESOURCES or k8s/trainer-pod.yaml",
        )
        if memory_error:
            return memory_error
        if ended.exit_code:
            return failure(subcommand, ended.exit_code, (ended.message or "").splitlines()[-20:])
    if pod.status.reason in ("DeadlineExceeded", "Evicted", "NodeLost", "Shutdown"):
        return TransientError(
            f"the trainer's pod {name} was ended by Kubernetes",
            found=f"{pod.status.reason}: {pod.status.message or ''}",
            hint="DeadlineExceeded: raise RECSYS_TRAINER_POD_DEADLINE_S; else check its node",
        )
    if state and state.waiting and state.waiting.reason in _CANNOT_START:
        return ConfigurationError(
            f"the trainer's pod {name} cannot start: {_CANNOT_START[state.waiting.reason]}",
            found=f"{state.waiting.reason}: {state.waiting.message or ''}",
            expected=f"image {_image(pod, container)} and the objects that the pod refers to",
            hint="push the image or correct the Airflow Variable recsys_trainer_image; run kubectl "
            "describe pod and create missing objects in the namespace",
        )
    unscheduled = next(
        (
            c
            for c in pod.status.conditions or ()
            if c.type == "PodScheduled" and c.status == "False"
        ),
        None,
    )
    if unscheduled:
        return TransientError(
            f"the trainer's pod {name} was not scheduled on a node",
            found=f"{unscheduled.reason}: {unscheduled.message or ''}",
            hint="free or add nodes, or lower the requests in RECSYS_TRAINER_POD_RESOURCES; the "
            "timeout is RECSYS_TRAINER_POD_STARTUP_TIMEOUT_S",
        )
    return None


def explain_api(error: ApiException, namespace: str) -> RecsysError:
    """Returns the error for an error response of the Kubernetes API."""
    response = _message(error)
    if error.status == 403 and "exceeded quota" in response:
        return TransientError(
            f"the trainer's pod exceeds the quota of the namespace {namespace}",
            found=response,
            hint="wait for other pods to end, or raise the ResourceQuota in k8s/base",
        )
    if error.status == 403:
        return ConfigurationError(
            f"Airflow's service account lacks a permission in the namespace {namespace}",
            found=response,
            hint="apply the Role and RoleBinding of k8s/base, or for a described recommender what "
            "`recsys recommender grants NAME --only kubernetes` prints",
        )
    if error.status == 401:
        return ConfigurationError(
            "Kubernetes rejected the credentials",
            found=response,
            hint="correct the Airflow Connection that RECSYS_TRAINER_POD_CONN_ID names",
        )
    if error.status == 404 and response.startswith("pods "):
        return _gone(response)
    if error.status == 404:
        return ConfigurationError(
            f"an object that the trainer's pod needs is missing in the namespace {namespace}",
            found=response,
            hint="run kubectl apply -k k8s/overlays/production, or for a described recommender "
            "what `recsys recommender grants NAME --only kubernetes` prints; check the namespace",
        )
    if error.status in (400, 422):
        return ConfigurationError(
            "Kubernetes rejected the specification of the trainer's pod",
            found=response,
            hint="correct k8s/trainer-pod.yaml or the settings RECSYS_TRAINER_POD_*",
        )
    return TransientError(
        "the Kubernetes API failed",
        found=f"{error.status}: {response}",
        hint="the next try may succeed",
    )


def _gone(found: str) -> TransientError:
    return TransientError(
        "the trainer's pod is gone",
        found=found,
        hint="check for a lost node or a deleted pod; the next try starts another pod",
    )


def _image(pod: V1Pod, container: str) -> str:
    images = [c.image for c in pod.spec.containers if c.name == container]
    return images[0] if images else "of the trainer"


def _message(error: ApiException) -> str:
    """Returns the message of the API's response."""
    try:
        body: Any = json.loads(error.body or "")
    except (TypeError, ValueError):
        return str(error.reason)
    return str(body.get("message") or error.reason) if isinstance(body, dict) else str(error.reason)
