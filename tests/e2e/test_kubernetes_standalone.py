"""The trainer in pods of the fake API, under a real scheduler and a real triggerer."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from recsys import contract, monitoring
from recsys.cli.output import embedded_services
from recsys.embedded import airflow, stack
from recsys.embedded.home import Home
from recsys.embedded.s3 import S3
from recsys.services import Services
from tests.e2e.conftest import (
    DEFAULTS,
    Outcome,
    Pipeline,
    candidate,
    compute_features,
    connections,
    trainers_world,
)
from tests.e2e.fake_kubernetes import FakeKubernetes
from tests.e2e.test_standalone import (
    DAG_ID,
    EAGER,
    RUN_ENDS_WITHIN_S,
    describe,
    task_states,
    wait,
)
from tests.e2e.test_trainer_job import local_cluster
from tests.e2e.trainer_dags import IMAGE, ROOT, serialize

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Running = tuple[Home, Services, FakeKubernetes]


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's DAGs and those of `deferred_dags`."""
    folder = tmp_path_factory.mktemp("stack") / "dags"
    folder.mkdir()
    (folder / "recsys_dag").symlink_to(ROOT / "dags/recsys_dag")
    shutil.copy(Path(__file__).with_name("deferred_dags.py"), folder)
    return folder


@pytest.fixture(scope="module")
def on_pods(dags: Path) -> Iterator[Running]:
    """The stack as `recsys up` starts it, configured to train in pods."""
    with (
        tempfile.TemporaryDirectory(prefix="recsys-stack-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        home = Home(Path(folder))
        # The watcher finds nothing, so that no run starts but those that the tests trigger.
        home.remember_source(str(Path(folder) / "nowhere.zip"))
        world = trainers_world(S3(home).credentials())
        with FakeKubernetes(world) as cluster:
            for name in [n for n in os.environ if n.startswith(("AIRFLOW", "RECSYS_RETRY"))]:
                patched.delenv(name)
            for name, value in {
                **EAGER,
                "RECSYS_TRAINER_LAUNCHER": "kubernetes",
                "AIRFLOW_VAR_RECSYS_TRAINER_IMAGE": IMAGE,
                **cluster.connection,
            }.items():
                patched.setenv(name, value)
            try:
                stack.start(home, dags)
                yield home, embedded_services(home), cluster
            finally:
                stack.stop(home)
        assert cluster.forbidden == [], "more than the Role of k8s/base allows"


def holders(port: int) -> set[int]:
    """Other processes that are connected to this port."""
    return {
        c.pid
        for c in psutil.net_connections("tcp")
        if c.raddr and c.raddr.port == port and c.pid not in (None, os.getpid())
    }


def test_a_task_killed_while_its_pod_trains_finds_the_same_pod_again(
    on_pods: Running, small_dataset: Path
) -> None:
    home, services, cluster = on_pods
    world = cluster.world
    trainer = world.command
    # The pod waits until the task was killed, and then trains.
    go = home.folder("airflow") / "go"
    world.command = [
        "sh",
        "-c",
        f'echo here; while [ ! -e {go} ]; do sleep 0.1; done; exec "$@"',
        "sh",
        *trainer,
    ]
    with airflow.client(home) as client:
        client.wait_for_dag(DAG_ID)
        run_id = client.trigger(DAG_ID, {"source": str(small_dataset), **DEFAULTS})
        while not (cluster.processes and holders(cluster.port)):
            assert client.run_state(DAG_ID, run_id) in ("queued", "running")
            time.sleep(0.2)
        # The try is past its start: it follows the pod's log.
        while not (cluster.followed and holders(cluster.port)):
            assert client.run_state(DAG_ID, run_id) == "running"
            time.sleep(0.2)
        [victim] = holders(cluster.port)
        os.kill(victim, signal.SIGKILL)
        while not holders(cluster.port) - {victim}:
            assert client.run_state(DAG_ID, run_id) == "running"
            time.sleep(0.2)
        world.command = trainer
        go.touch()
        assert wait(client, run_id) == "success", task_states(client, run_id)
        tries = {t.task_id: t.try_number for t in client.task_instances(DAG_ID, run_id)}
    assert tries["train_dl_model"] >= 2
    arguments = [pod["spec"]["containers"][0]["args"] for pod in cluster.created]
    assert arguments == [["train"], ["verify"]], "one pod trained, however many tasks waited for it"
    assert monitoring.read_status(services)["champion"] is not None
    assert monitoring.problems(services) == []


def decide(services: Services, source: Path) -> Outcome:
    """The DAG as far as its first branch, run in this process."""
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, chain

    from recsys_dag import tasks
    from recsys_dag.defaults import task_defaults

    with DAG(
        "movie_rec_sys_tune",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        params={"source": str(source), "force": False},
        default_args=task_defaults(None),
    ) as dag:
        ends = [EmptyOperator(task_id=name) for name in ("fetch_dataset", "do_nothing")]
        chain(tasks.data_is_new(), ends)
    serialize(dag)
    return Pipeline(services).run_dag(dag, {})


def test_a_new_image_alone_starts_a_run_and_a_tag_is_refused(
    on_pods: Running, small_dataset: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, services, _ = on_pods
    for name, value in connections(services).items():
        monkeypatch.setenv(name, value)
    outcome = decide(services, small_dataset)
    assert outcome.ran("do_nothing"), outcome
    variable = "AIRFLOW_VAR_RECSYS_TRAINER_IMAGE"
    monkeypatch.setenv(variable, f"registry.example/recsys-trainer@sha256:{'e' * 64}")
    assert decide(services, small_dataset).ran("fetch_dataset")
    monkeypatch.setenv(variable, "registry.example/recsys-trainer:v2")
    outcome = decide(services, small_dataset)
    assert outcome.state == "failed"
    assert outcome.tries["data_is_new"] == 1
    assert "names no image by digest" in outcome.errors["data_is_new"]


@pytest.mark.parametrize(("dag_id", "workers"), [("deferred_pod", 1), ("deferred_job", 2)])
def test_a_deferred_training_is_watched_by_the_triggerer(
    on_pods: Running, changed_dataset: Path, dag_id: str, workers: int
) -> None:
    home, services, cluster = on_pods
    digest = f"sha256:{hashlib.sha256(dag_id.encode()).hexdigest()}"
    about = compute_features(services, changed_dataset, digest)
    cluster.world.cluster_of = local_cluster(workers)
    seen: set[str | None] = set()
    with airflow.client(home) as client:
        client.wait_for_dag(dag_id)
        conf = {"run": about.model_dump(mode="json"), "image": f"registry.example/x@{digest}"}
        run_id = client.trigger(dag_id, conf)
        end = time.monotonic() + RUN_ENDS_WITHIN_S
        while (state := client.run_state(dag_id, run_id)) in ("queued", "running"):
            seen |= {t.state for t in client.task_instances(dag_id, run_id)}
            assert time.monotonic() < end, describe(client, run_id, dag_id)
            time.sleep(0.5)
        [training] = [t for t in client.task_instances(dag_id, run_id) if "train" in t.task_id]
        log = client.task_log(dag_id, run_id, "train_dl_model", training.try_number)
    assert (state, training.try_number) == ("success", 1), log
    assert "deferred" in seen
    assert f"wrote {contract.INBOX_PREFIX}" in log, "what the trainer said is shipped"
    assert candidate(services, about).run_nonce == about.run_nonce
    assert (cluster.pods, cluster.jobs) == ({}, {})
