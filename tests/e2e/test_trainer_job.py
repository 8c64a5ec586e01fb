"""A training by several pods: the real KubernetesJobOperator against the fake API."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from recsys import contract
from tests.e2e.conftest import Outcome, candidate
from tests.e2e.trainer_dags import DIGEST, IMAGE, SECRET, Featured, run_trainer, when_running
from tests.forwarded import set_forwarded


def local_cluster(count: int) -> Callable[[int], str]:
    """TF_CONFIG by index, for workers on free ports of this machine."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    return lambda index: json.dumps(
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
    )


def run(featured: Featured, retries: int = 0, **pod: Any) -> Outcome:
    """Runs the Job."""
    from recsys_dag.trainer.job import TrainerJob
    from recsys_dag.trainer.settings import PodSettings

    settings = PodSettings(**{"startup_timeout_s": 3, "grace_s": 5, **pod})
    return run_trainer(
        featured,
        lambda defaults: [
            TrainerJob(
                task_id="train_dl_model",
                workers=2,
                pod_settings=settings,
                job_poll_interval=0.2,
                **defaults,
            )
        ],
        retries,
    )


def test_two_pods_train_one_release(airflow_db, featured, cluster, world):
    services, about = featured
    world.cluster_of = local_cluster(2)
    outcome = run(featured)
    assert outcome.state == "success", outcome.errors
    manifest = candidate(services, about)
    assert manifest.run_nonce == about.run_nonce
    assert manifest.build.trainer_digest == DIGEST
    assert cluster.jobs == {}, "a finished Job is deleted"
    assert cluster.pods == {}
    # The release is trained now: a second run of the task has nothing to do.
    assert run(featured).state == "success"
    assert len(cluster.created_jobs) == 1


def test_the_job_is_what_the_template_and_the_settings_say(
    airflow_db, featured, cluster, world, monkeypatch
):
    import kubernetes_validate

    forwarded = set_forwarded(monkeypatch)

    world.command = ["true"]
    assert run(featured, deadline_s=77).state == "success"
    [job] = cluster.created_jobs
    spec = job["spec"]
    assert job["metadata"]["namespace"] == "recsys"
    assert job["metadata"]["labels"]["recsys.io/release"] == featured[1].release_id
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (2, 2, 0)
    assert spec["activeDeadlineSeconds"] == 77
    assert spec["ttlSecondsAfterFinished"] == 3600
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == "recsys-trainer"
    assert pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never"
    [container] = pod["containers"]
    assert container["image"] == IMAGE
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["envFrom"] == [{"secretRef": {"name": SECRET}}]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables[contract.ENV_WORKERS] == "2"
    assert variables[contract.ENV_WORKER_SERVICE] == "recsys-trainer"
    assert not variables.keys() & set(contract.SECRET_ENV)
    assert variables.items() >= forwarded.items()
    # A host's name is a label of DNS: the index follows the Job's name.
    assert len(job["metadata"]["name"]) + len("-63") <= 63
    sent = {key: job[key] for key in ("apiVersion", "kind", "spec")}
    sent["metadata"] = {"name": job["metadata"]["name"], "namespace": "recsys"}
    kubernetes_validate.validate(sent, "1.32", strict=True)


@pytest.mark.parametrize(
    ("code", "tries", "said"), [(65, 1, "BAD_DATA"), (78, 1, "BAD_CONFIG"), (75, 2, "UNAVAILABLE")]
)
def test_the_cause_is_reported_and_decides_about_a_retry(
    airflow_db, featured, cluster, world, code, tries, said
):
    # The other worker ends as one does that lost its peer.
    script = f'if [ "$JOB_COMPLETION_INDEX" = 1 ]; then exit {code}; else sleep 0.3; exit 75; fi'
    world.command = ["sh", "-c", script]
    outcome = run(featured, retries=1)
    assert outcome.state == "failed"
    assert outcome.tries["train_dl_model"] == tries
    assert said in outcome.errors["train_dl_model"]
    assert len(cluster.created_jobs) == tries
    assert cluster.jobs == {}


@pytest.mark.parametrize(
    ("code", "state", "said"), [(0, "success", ""), (65, "failed", "exit code 65 (BAD_DATA)")]
)
def test_a_deferred_job_ends_the_same(
    airflow_db, featured, cluster, world, caplog, capsys, code, state, said
):
    script = f'echo "I am $JOB_COMPLETION_INDEX"; [ "$JOB_COMPLETION_INDEX" = 0 ] || exit {code}'
    world.command = ["sh", "-c", script]
    outcome = run(featured, deferrable=True)
    assert outcome.state == state, outcome.errors
    assert said in outcome.errors.get("train_dl_model", "")
    assert "running trigger in line" in caplog.text
    shipped = capsys.readouterr().out
    for index in (0, 1):
        assert f"I am {index}" in shipped, "the logs of all workers are shipped"
    assert len(cluster.created_jobs) == 1
    assert cluster.jobs == {}


def test_a_lost_worker_ends_the_job_and_is_transient(airflow_db, featured, cluster, world):
    world.command = ["sh", "-c", "echo here; sleep 30"]
    when_running(cluster, cluster.kill, cluster.said)
    outcome = run(featured)
    assert outcome.state == "failed"
    assert "exit code" in outcome.errors["train_dl_model"]
    assert cluster.jobs == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"waiting": ("ImagePullBackOff", "manifest unknown")}, "image cannot be pulled"),
        ({"unschedulable": "0/3 nodes: insufficient memory"}, "insufficient memory"),
        ({"secrets": {}}, 'secret "recsys-trainer-s3" not found'),
        ({"refuse": (403, 'jobs.batch is forbidden: cannot create "jobs"')}, "RoleBinding"),
    ],
    ids=["image", "node", "secret", "rights"],
)
def test_a_job_that_cannot_start_names_the_object_and_the_remedy(
    airflow_db, featured, cluster, world, change, said
):
    for name, value in change.items():
        setattr(world, name, value)
    outcome = run(featured, startup_timeout_s=1)
    assert outcome.state == "failed"
    assert said in outcome.errors["train_dl_model"]
    assert cluster.jobs == {}


def test_a_job_that_a_killed_try_left_is_ended_first(airflow_db, featured, cluster, world):
    label = {"recsys.io/release": featured[1].release_id}
    cluster.jobs["orphan"] = {
        "metadata": {"name": "orphan", "namespace": "recsys", "labels": label}
    }
    other = {"recsys.io/release": "00000000-00000000"}
    cluster.jobs["other"] = {"metadata": {"name": "other", "namespace": "recsys", "labels": other}}
    world.command = ["true"]
    assert run(featured).state == "success"
    assert set(cluster.jobs) == {"other"}
