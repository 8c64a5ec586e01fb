"""Why the trainer's pod failed, as an error that names the object and the remedy.

Permanent where another pod would fail the same way, transient where it may not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from recsys.errors import ConfigurationError, RecsysError, TransientError
from recsys.trainer_process import failure

if TYPE_CHECKING:
    from kubernetes.client import V1ContainerState, V1Pod
    from kubernetes.client.exceptions import ApiException

_CANNOT_START: Final = {
    "ErrImagePull": "the image cannot be pulled",
    "ImagePullBackOff": "the image cannot be pulled",
    "InvalidImageName": "the image's name is no name",
    "ErrImageNeverPull": "the image is not on the node",
    "CreateContainerConfigError": "a Secret or ConfigMap that the pod names is missing",
    "CreateContainerError": "the container cannot be made",
}


def explain_pod(pod: V1Pod | None, container: str, subcommand: str) -> RecsysError | None:
    """What a pod's status says of its failure.

    Args:
        pod: as Kubernetes last told; None: it is gone.
        container: name of the trainer's container.
        subcommand: what it ran.

    Returns:
        None when the status explains nothing.
    """
    if pod is None or pod.status is None:
        return _gone("nothing of it")
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    state = _state(pod, container)
    if state and state.terminated:
        ended = state.terminated
        if ended.reason == "OOMKilled":
            return TransientError(
                f"the trainer's pod {name} ran out of memory",
                found=f"exit code {ended.exit_code} (OOMKilled)",
                hint="raise limits.memory in RECSYS_TRAINER_POD_RESOURCES or k8s/trainer-pod.yaml",
            )
        if ended.exit_code:
            return failure(subcommand, ended.exit_code, (ended.message or "").splitlines()[-20:])
    if pod.status.reason in ("DeadlineExceeded", "Evicted", "NodeLost", "Shutdown"):
        return TransientError(
            f"the trainer's pod {name} was ended by Kubernetes",
            found=f"{pod.status.reason}: {pod.status.message or ''}",
            hint="DeadlineExceeded: raise RECSYS_TRAINER_POD_DEADLINE_S; else look at its node",
        )
    if state and state.waiting and state.waiting.reason in _CANNOT_START:
        return ConfigurationError(
            f"the trainer's pod {name} cannot start: {_CANNOT_START[state.waiting.reason]}",
            found=f"{state.waiting.reason}: {state.waiting.message or ''}",
            expected=f"image {_image(pod, container)} and the objects that the pod names",
            hint="push the image or mend the Airflow Variable recsys_trainer_image; create what "
            "is missing in the namespace (kubectl describe pod tells)",
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
            f"the trainer's pod {name} found no node",
            found=f"{unscheduled.reason}: {unscheduled.message or ''}",
            hint="free or add nodes, or ask for less in RECSYS_TRAINER_POD_RESOURCES; the wait is "
            "RECSYS_TRAINER_POD_STARTUP_TIMEOUT_S",
        )
    return None


def explain_api(error: ApiException, namespace: str) -> RecsysError:
    """What a refusal of the Kubernetes API means."""
    said = _message(error)
    if error.status == 403 and "exceeded quota" in said:
        return TransientError(
            f"the namespace {namespace} has no room for the trainer's pod",
            found=said,
            hint="wait for other pods to end, or raise the ResourceQuota in k8s/base",
        )
    if error.status == 403:
        return ConfigurationError(
            f"Airflow's service account may not do this in the namespace {namespace}",
            found=said,
            hint="apply the Role and RoleBinding of k8s/base",
        )
    if error.status == 401:
        return ConfigurationError(
            "Kubernetes does not accept these credentials",
            found=said,
            hint="mend the Airflow Connection that RECSYS_TRAINER_POD_CONN_ID names",
        )
    if error.status == 404 and said.startswith("pods "):
        return _gone(said)
    if error.status == 404:
        return ConfigurationError(
            f"Kubernetes does not have what the trainer's pod needs in the namespace {namespace}",
            found=said,
            hint="kubectl apply -k k8s/overlays/production, and see RECSYS_TRAINER_POD_NAMESPACE",
        )
    if error.status in (400, 422):
        return ConfigurationError(
            "Kubernetes refuses the trainer's pod as it is described",
            found=said,
            hint="mend k8s/trainer-pod.yaml or the settings RECSYS_TRAINER_POD_*",
        )
    return TransientError(
        "the Kubernetes API failed",
        found=f"{error.status}: {said}",
        hint="the next try may find it well again",
    )


def _gone(said: str) -> TransientError:
    return TransientError(
        "the trainer's pod is gone",
        found=said,
        hint="was its node lost, or the pod deleted? the next try starts another one",
    )


def _state(pod: V1Pod, container: str) -> V1ContainerState | None:
    for status in pod.status.container_statuses or ():
        if status.name == container:
            return status.state
    return None


def _image(pod: V1Pod, container: str) -> str:
    images = [c.image for c in pod.spec.containers if c.name == container]
    return images[0] if images else "of the trainer"


def _message(error: ApiException) -> str:
    """The sentence in the API's answer; its other fields are noise."""
    try:
        body: Any = json.loads(error.body or "")
    except (TypeError, ValueError):
        return str(error.reason)
    return str(body.get("message") or error.reason) if isinstance(body, dict) else str(error.reason)
