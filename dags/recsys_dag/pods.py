"""The container state of a pod, as the errors of the trainer and of Spark read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys.errors import TransientError

if TYPE_CHECKING:
    from kubernetes.client import V1ContainerState, V1ContainerStateTerminated, V1Pod


def container_state(pod: V1Pod, container: str) -> V1ContainerState | None:
    """Returns the state of the named container; None if Kubernetes reports none."""
    for status in (pod.status and pod.status.container_statuses) or ():
        if status.name == container:
            return status.state
    return None


def out_of_memory(
    what: str, terminated: V1ContainerStateTerminated, hint: str
) -> TransientError | None:
    """Returns the error for a container that was killed for lack of memory.

    Args:
        what: the pod, as the subject of the message.
        terminated: how its container ended.
        hint: which setting raises the memory limit.

    Returns:
        None if the container ended for another reason.
    """
    if terminated.reason != "OOMKilled":
        return None
    return TransientError(
        f"{what} ran out of memory",
        found=f"exit code {terminated.exit_code} (OOMKilled)",
        hint=hint,
    )
