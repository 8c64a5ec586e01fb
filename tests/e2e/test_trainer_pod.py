"""The trainer's pod: the real operator against a Kubernetes API that runs it as a process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recsys import contract, pipeline, releases
from recsys.errors import ArtifactError
from tests.e2e.conftest import Outcome
from tests.e2e.trainer_dags import DIGEST, IMAGE, SECRET, Featured, run_trainer, when_running
from tests.forwarded import set_forwarded
from tests.http_session import HttpSession

TERMS = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]}


def run(
    featured: Featured, subcommands: tuple[str, ...] = ("train",), retries: int = 0, **pod: Any
) -> Outcome:
    """Runs the pods one after the other."""
    from recsys_dag.trainer.pod import TrainerPod
    from recsys_dag.trainer.settings import PodSettings

    settings = PodSettings(**{"startup_timeout_s": 3, "grace_s": 5, **pod})
    return run_trainer(
        featured,
        lambda defaults: [
            TrainerPod(
                task_id=f"{name}_pod",
                subcommand=name,
                pod_settings=settings,
                startup_check_interval_seconds=1,
                **defaults,
            )
            for name in subcommands
        ],
        retries,
    )


def test_a_pod_trains_and_another_verifies_what_it_made(airflow_db, featured, cluster):
    services, about = featured
    outcome = run(featured, ("train", "verify"))
    assert outcome.state == "success", outcome.errors
    manifest, _ = releases.read_manifest(services.store, about.release_id)
    assert manifest.run_nonce == about.run_nonce
    assert manifest.build.trainer_digest == DIGEST
    assert [pod["spec"]["containers"][0]["args"] for pod in cluster.created] == [
        ["train"],
        ["verify"],
    ]
    assert cluster.pods == {}, "finished pods are deleted"
    # The release is trained now: a second run of the task has nothing to do.
    assert run(featured).state == "success"
    assert len(cluster.created) == 2


def test_the_pod_is_what_the_template_and_the_settings_say(
    airflow_db, featured, cluster, world, monkeypatch
):
    import kubernetes_validate

    forwarded = set_forwarded(monkeypatch)
    world.command = ["true"]
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    run(
        featured,
        resources={"limits": {"memory": "9Gi", "nvidia.com/gpu": "1"}},
        node_selector={"pool": "gpu"},
        tolerations=tolerations,
        deadline_s=77,
        service_account="trainer-with-a-role",
        pull_secrets=["registry"],
        priority_class="batch",
        labels={"team": "recommendations"},
        annotations={"sidecar.istio.io/inject": "false"},
        env={"AWS_CA_BUNDLE": "/etc/ours.pem", "OMP_NUM_THREADS": "2", "RECSYS_BUILD": "{}"},
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": TERMS}},
    )
    [pod] = cluster.created
    spec = pod["spec"]
    [container] = spec["containers"]
    assert pod["metadata"]["namespace"] == "recsys"
    assert pod["metadata"]["name"].startswith("recsys-train-")
    assert container["name"] == "trainer"
    assert container["image"] == IMAGE
    assert container["args"] == ["train"]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "4Gi"},
        "limits": {"memory": "9Gi", "nvidia.com/gpu": "1", "ephemeral-storage": "8Gi"},
    }
    assert container["envFrom"] == [{"secretRef": {"name": SECRET}}]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "trainer-with-a-role"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["priorityClassName"] == "batch"
    assert (
        pod["metadata"]["labels"].items()
        >= {
            "team": "recommendations",
            "app.kubernetes.io/name": "recsys-trainer",
        }.items()
    )
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required == TERMS
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 77
    assert spec["terminationGracePeriodSeconds"] == 5
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == tolerations
    assert spec["securityContext"]["runAsNonRoot"] is True
    names = {variable["name"] for variable in container["env"]}
    assert names >= {contract.ENV_BUILD, contract.ENV_RUN_NONCE, contract.ENV_S3_BUCKET}
    assert not names & set(contract.SECRET_ENV), "secrets travel by reference only"
    services, about = featured
    variables = pipeline.make_trainer_input(services, about, about.run_nonce).to_environment()
    # The template defines HOME and TMPDIR.
    assert {variable["name"]: variable["value"] for variable in container["env"]} == (
        dict.fromkeys(("HOME", "TMPDIR"), "/tmp")  # noqa: S108 - in the pod
        | variables
        | forwarded
        | {"AWS_CA_BUNDLE": "/etc/ours.pem", "OMP_NUM_THREADS": "2"}
    )
    sent = {key: pod[key] for key in ("apiVersion", "kind", "spec")}
    sent["metadata"] = {"name": pod["metadata"]["name"], "namespace": "recsys"}
    kubernetes_validate.validate(sent, "1.32", strict=True)


def test_secrets_are_neither_in_the_pod_nor_in_the_log(
    airflow_db, featured, cluster, world, caplog, capsys
):
    world.command = ["sh", "-c", "echo last words; sleep 1"]
    run(featured)
    shown = capsys.readouterr()
    text = json.dumps(cluster.created) + caplog.text + shown.out + shown.err
    assert "last words" in text
    for secret in pipeline.secrets(featured[0]).values():
        assert secret not in text


def test_the_cluster_of_these_tests_refuses_what_the_role_does_not_allow(cluster):
    with HttpSession(f"http://127.0.0.1:{cluster.port}/api/v1/namespaces/recsys") as session:
        assert session.get("/pods").status_code == 200
        assert session.get(f"/secrets/{SECRET}").status_code == 403
        assert session.post("/pods/x/exec").status_code == 403
    assert cluster.forbidden == ["get secrets", "create pods/exec"]
    cluster.forbidden.clear()


@pytest.mark.parametrize(
    ("code", "tries", "said"),
    [(65, 1, "BAD_DATA"), (78, 1, "BAD_CONFIG"), (70, 1, "INTERNAL"), (75, 2, "UNAVAILABLE")],
)
def test_the_exit_code_decides_whether_another_try_is_made(
    airflow_db, featured, cluster, world, code, tries, said
):
    world.command = ["sh", "-c", f"echo last words; exit {code}"]
    outcome = run(featured, retries=1)
    assert outcome.state == "failed"
    assert outcome.tries["train_pod"] == tries
    assert f"exit code {code} ({said})" in outcome.errors["train_pod"]
    assert "last words" in outcome.errors["train_pod"]


def test_a_killed_pod_is_tried_again(airflow_db, featured, cluster, world):
    world.command = ["sh", "-c", "echo here; sleep 30"]
    when_running(cluster, cluster.kill, cluster.said)
    outcome = run(featured, retries=0)
    assert outcome.state == "failed"
    assert "exit code 137" in outcome.errors["train_pod"]


def test_a_pod_that_claims_success_without_a_manifest_is_found_out(
    airflow_db, featured, cluster, world
):
    """SIGTERM can be reported as success: the pod's word is not what counts."""
    services, about = featured
    world.command, world.report_success = ["sh", "-c", "echo here; sleep 30"], True
    when_running(cluster, lambda name: cluster.kill(name, 15), cluster.said)
    assert run(featured).state == "success"
    with pytest.raises(ArtifactError):
        pipeline.check_candidate(services, about)


def test_a_lost_node_is_transient(airflow_db, featured, cluster, world):
    world.command = ["sh", "-c", "echo here; sleep 30"]
    when_running(cluster, cluster.lose, cluster.said)
    outcome = run(featured)
    assert outcome.state == "failed"
    assert "gone" in outcome.errors["train_pod"]


@pytest.mark.parametrize(
    ("change", "said", "tries"),
    [
        ({"waiting": ("ErrImageNeverPull", "not present")}, "image is not on the node", 1),
        ({"waiting": ("ImagePullBackOff", "manifest unknown")}, "image cannot be pulled", 1),
        ({"secrets": {}}, 'secret "recsys-trainer-s3" not found', 1),
        ({"unschedulable": "0/3 nodes: insufficient memory"}, "insufficient memory", 2),
        ({"refuse": (403, 'pods is forbidden: cannot create resource "pods"')}, "RoleBinding", 1),
        ({"refuse": (403, "exceeded quota: recsys, limits.memory")}, "ResourceQuota", 2),
        ({"refuse": (404, 'namespaces "recsys" not found')}, 'namespaces "recsys" not found', 1),
        ({"refuse": (422, "spec.containers[0].image: Required value")}, "trainer-pod.yaml", 1),
        ({"refuse": (401, "Unauthorized")}, "credentials", 1),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_pod_that_cannot_start_names_the_object_and_the_remedy(
    airflow_db, featured, cluster, world, change, said, tries
):
    for name, value in change.items():
        setattr(world, name, value)
    outcome = run(featured, retries=1, startup_timeout_s=1)
    assert outcome.state == "failed"
    assert said in outcome.errors["train_pod"]
    assert "what to do" in outcome.errors["train_pod"]
    assert outcome.tries["train_pod"] == tries
    assert cluster.pods == {}


def test_a_cluster_that_is_down_is_transient(airflow_db, featured, cluster, monkeypatch):
    dead = cluster.kube_config
    dead["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    extra = {"kube_config": json.dumps(dead)}
    monkeypatch.setenv(
        "AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes", "extra": extra})
    )
    outcome = run(featured)
    assert outcome.state == "failed"
    assert "does not answer" in outcome.errors["train_pod"]


def test_a_kubeconfig_that_makes_no_sense_is_permanent(airflow_db, featured, cluster, monkeypatch):
    extra = {"kube_config": json.dumps({"apiVersion": "v1", "kind": "Config"})}
    monkeypatch.setenv(
        "AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes", "extra": extra})
    )
    outcome = run(featured, retries=1)
    assert outcome.tries["train_pod"] == 1
    assert "kubernetes_default" in outcome.errors["train_pod"]


def test_a_deferred_pod_ends_the_same(airflow_db, featured, cluster, world):
    world.command = ["sh", "-c", "echo bad data; exit 65"]
    outcome = run(featured, deferrable=True)
    assert outcome.state == "failed"
    assert "exit code 65 (BAD_DATA)" in outcome.errors["train_pod"]
