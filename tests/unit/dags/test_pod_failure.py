"""Errors made from a pod's status and from error responses of the Kubernetes API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes.client import (
    V1Container,
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodCondition,
    V1PodSpec,
    V1PodStatus,
)
from kubernetes.client.exceptions import ApiException

from recsys.contract import ExitCode
from recsys.errors import PermanentError, TransientError
from recsys_dag.trainer.pod_failure import explain_api, explain_pod

IMAGE = f"trainer@sha256:{'d' * 64}"


def pod(state: V1ContainerState | None = None, **status: Any) -> V1Pod:
    statuses = [
        V1ContainerStatus(
            name="trainer", image=IMAGE, image_id=IMAGE, ready=False, restart_count=0, state=state
        )
    ]
    return V1Pod(
        metadata=V1ObjectMeta(name="recsys-train-x", namespace="recsys"),
        spec=V1PodSpec(containers=[V1Container(name="trainer", image=IMAGE)]),
        status=V1PodStatus(container_statuses=statuses if state else None, **status),
    )


def ended(code: int, **more: Any) -> V1ContainerState:
    return V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=code, **more))


def waiting(reason: str) -> V1ContainerState:
    return V1ContainerState(waiting=V1ContainerStateWaiting(reason=reason, message="says who"))


@pytest.mark.parametrize("code", [c for c in ExitCode if c != ExitCode.OK])
def test_an_exit_code_is_permanent_or_transient_as_the_contract_says(code: ExitCode) -> None:
    error = explain_pod(pod(ended(int(code), message="first\nlast words")), "trainer", "train")
    assert isinstance(error, TransientError if code.is_transient else PermanentError)
    assert code.name in str(error)
    assert "last words" in str(error)


def test_a_pod_out_of_memory_names_the_setting_to_raise() -> None:
    error = explain_pod(pod(ended(137, reason="OOMKilled")), "trainer", "train")
    assert isinstance(error, TransientError)
    assert "recsys/recsys-train-x" in str(error)
    assert "RECSYS_TRAINER_POD_RESOURCES" in str(error)


@pytest.mark.parametrize("reason", ["DeadlineExceeded", "Evicted", "NodeLost", "Shutdown"])
def test_a_pod_that_kubernetes_ended_may_do_better_elsewhere(reason: str) -> None:
    error = explain_pod(pod(reason=reason, message="node n1"), "trainer", "train")
    assert isinstance(error, TransientError)
    assert reason in str(error)
    assert "node n1" in str(error)


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
    ],
)
def test_a_container_that_cannot_start_is_permanent_and_names_image_and_pod(reason: str) -> None:
    error = explain_pod(pod(waiting(reason)), "trainer", "train")
    assert isinstance(error, PermanentError)
    for part in (reason, "says who", IMAGE, "recsys/recsys-train-x", "what to do"):
        assert part in str(error)


def test_a_pod_without_a_node_is_transient() -> None:
    condition = V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/3 nodes"
    )
    error = explain_pod(pod(conditions=[condition]), "trainer", "train")
    assert isinstance(error, TransientError)
    assert "0/3 nodes" in str(error)


@pytest.mark.parametrize("status", [waiting("ContainerCreating"), ended(0), None])
def test_a_status_that_explains_nothing_is_not_made_to(status: V1ContainerState | None) -> None:
    assert explain_pod(pod(status), "trainer", "train") is None


def test_other_containers_do_not_matter() -> None:
    assert explain_pod(pod(ended(65)), "sidecar", "train") is None


def test_a_pod_that_is_gone_is_transient() -> None:
    assert isinstance(explain_pod(None, "trainer", "train"), TransientError)


@pytest.mark.parametrize(
    ("status", "said", "kind", "remedy"),
    [
        (403, "pods is forbidden: exceeded quota: recsys", TransientError, "ResourceQuota"),
        (403, "pods is forbidden", PermanentError, "RoleBinding"),
        (401, "Unauthorized", PermanentError, "RECSYS_TRAINER_POD_CONN_ID"),
        (404, 'pods "x" not found', TransientError, "deleted"),
        (404, 'namespaces "recsys" not found', PermanentError, "kubectl apply"),
        (400, "bad request", PermanentError, "trainer-pod.yaml"),
        (422, "Required value", PermanentError, "trainer-pod.yaml"),
        (429, "slow down", TransientError, "next try"),
        (500, "etcdserver: request timed out", TransientError, "next try"),
    ],
)
def test_a_refusal_of_the_api_names_what_was_said_and_the_remedy(
    status: int, said: str, kind: type[Exception], remedy: str
) -> None:
    refusal = ApiException(status=status, reason="Nope")
    refusal.body = json.dumps({"kind": "Status", "message": said})
    error = explain_api(refusal, "recsys")
    assert isinstance(error, kind)
    assert said in str(error)
    assert remedy in str(error)


@pytest.mark.parametrize("body", [None, "", "<html>", "[]", '{"message": null}'])
def test_a_response_that_is_no_status_is_reported_with_its_reason(body: str | None) -> None:
    refusal = ApiException(status=502, reason="Bad Gateway")
    refusal.body = body
    assert "Bad Gateway" in str(explain_api(refusal, "recsys"))
