"""The trainer's container: the real DockerOperator against an engine that runs it as a process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from docker import DockerClient
from recsys import contract, pipeline, releases
from tests.e2e.conftest import Outcome, connections, untrain
from tests.e2e.fake_docker import Engine, FakeDocker
from tests.e2e.trainer_dags import DIGEST, IMAGE, ROOT, Featured, run_trainer, when_running
from tests.forwarded import SECRET, set_forwarded


@pytest.fixture
def engine() -> Engine:
    """An engine that has the image."""
    return Engine(
        images={IMAGE},
        command=[os.environ["RECSYS_TRAINER_PYTHON"], "-m", "trainer"],
        cwd=ROOT,
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )


@pytest.fixture
def docker(engine: Engine, featured: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    services, about = featured
    untrain(services, about)
    for name, value in connections(services).items():
        monkeypatch.setenv(name, value)
    with FakeDocker(engine) as fake:
        yield fake


def run(
    featured: Featured,
    url: str,
    subcommands: tuple[str, ...] = ("train",),
    retries: int = 0,
    **settings: Any,
) -> Outcome:
    """Runs the containers one after the other."""
    from recsys_dag.trainer.container import TrainerContainer
    from recsys_dag.trainer.settings import ContainerSettings

    return run_trainer(
        featured,
        lambda defaults: [
            TrainerContainer(
                task_id=f"{name}_container",
                subcommand=name,
                container_settings=ContainerSettings(url=url, **settings),
                **defaults,
            )
            for name in subcommands
        ],
        retries,
    )


def test_a_container_trains_and_another_verifies_what_it_made(airflow_db, featured, docker):
    services, about = featured
    outcome = run(featured, docker.url, ("train", "verify"))
    assert outcome.state == "success", outcome.errors
    manifest, _ = releases.read_manifest(services.store, about.release_id)
    assert manifest.run_nonce == about.run_nonce
    assert manifest.build.trainer_digest == DIGEST
    assert [container["Cmd"] for container in docker.created] == [["train"], ["verify"]]
    assert docker.removed == ["container0", "container1"]
    # The release is trained now: a second run of the task has nothing to do.
    assert run(featured, docker.url).state == "success"
    assert len(docker.created) == 2


def test_the_container_is_what_the_settings_say(
    airflow_db, featured, docker, engine, caplog, capsys, monkeypatch
):
    forwarded = set_forwarded(monkeypatch)
    own = {
        "conn_type": "aws",
        "login": "the-trainers",
        "password": "trainer-hush",
        "extra": {"bucket_name": "recsys"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_TRAINER_S3", json.dumps(own))
    from recsys_dag.trainer.container import TrainerContainer

    engine.command = ["echo", "last words"]
    outcome = run(
        featured,
        docker.url,
        memory="3g",
        cpus=1.5,
        network="data",
        env={"AWS_CA_BUNDLE": "/etc/ours.pem", "OMP_NUM_THREADS": "2", "RECSYS_BUILD": "{}"},
        mounts={"/etc/ours.pem": "/etc/ssl/ours.pem"},
    )
    assert outcome.state == "success", outcome.errors
    [container] = docker.created
    host = container["HostConfig"]
    assert container["Image"] == IMAGE
    assert host["Memory"] == 3 * 2**30
    assert host["NetworkMode"] == "data"
    assert host["CpuShares"] == 1536
    assert not host.get("Binds")
    [mount] = host["Mounts"]
    assert (mount["Target"], mount["Source"]) == ("/etc/ours.pem", "/etc/ssl/ours.pem")
    assert mount["ReadOnly"] is True
    assert not host.get("Privileged")
    given = dict(variable.split("=", 1) for variable in container["Env"])
    services, about = featured
    # The trainer's own account, not that of the pipeline.
    secrets = {"AWS_ACCESS_KEY_ID": "the-trainers", "AWS_SECRET_ACCESS_KEY": "trainer-hush"}
    variables = pipeline.make_trainer_input(services, about, about.run_nonce).to_environment()
    assert json.loads(given[contract.ENV_BUILD])["trainer_digest"] == DIGEST
    assert given == variables | secrets | forwarded | {
        "AWS_CA_BUNDLE": "/etc/ours.pem",
        "OMP_NUM_THREADS": "2",
    }
    # They are in no field that Airflow renders and shows, and in no log.
    assert "environment" in TrainerContainer.template_fields
    assert "_private_environment" not in TrainerContainer.template_fields
    shown = capsys.readouterr()
    text = caplog.text + shown.out + shown.err
    assert "last words" in text
    for secret in (*secrets.values(), *pipeline.secrets(services).values(), SECRET):
        assert secret not in text


@pytest.mark.parametrize(
    ("code", "tries", "said"),
    [(65, 1, "BAD_DATA"), (78, 1, "BAD_CONFIG"), (70, 1, "INTERNAL"), (75, 2, "UNAVAILABLE")],
)
def test_the_exit_code_decides_whether_another_try_is_made(
    airflow_db, featured, docker, engine, code, tries, said
):
    engine.command = ["sh", "-c", f"echo last words; exit {code}"]
    outcome = run(featured, docker.url, retries=1)
    assert outcome.state == "failed"
    assert outcome.tries["train_container"] == tries
    assert f"exit code {code} ({said})" in outcome.errors["train_container"]
    assert "last words" in outcome.errors["train_container"]
    assert len(docker.removed) == tries


def test_a_killed_container_is_transient_and_removed(airflow_db, featured, docker, engine):
    engine.command = ["sh", "-c", "sleep 30"]
    when_running(docker, docker.kill)
    outcome = run(featured, docker.url)
    assert outcome.state == "failed"
    assert "exit code 137" in outcome.errors["train_container"]
    assert docker.removed == ["container0"]


def test_a_missing_image_is_permanent_and_named(airflow_db, featured, docker, engine):
    engine.images.clear()
    outcome = run(featured, docker.url, retries=1)
    assert outcome.tries["train_container"] == 1
    assert "image was not found" in outcome.errors["train_container"]
    assert DIGEST in outcome.errors["train_container"]
    assert "recsys_trainer_image" in outcome.errors["train_container"]


def test_an_engine_that_is_down_is_transient(airflow_db, featured, docker):
    outcome = run(featured, "tcp://127.0.0.1:1", retries=1)
    assert outcome.state == "failed"
    assert outcome.tries["train_container"] == 2
    assert "RECSYS_TRAINER_DOCKER_URL" in outcome.errors["train_container"]


def test_containers_that_a_killed_try_left_are_ended_first(airflow_db, featured, docker, engine):
    """SIGKILL of a task leaves its container: two must not write one release."""
    _, about = featured
    client = DockerClient(base_url=docker.url)
    try:
        labels = {"recsys.io/release": about.release_id}
        left = client.api.create_container(IMAGE, ["train"], labels=labels)["Id"]
        never_started = client.api.create_container(IMAGE, ["train"], labels=labels)["Id"]
        another = client.api.create_container(
            IMAGE, ["train"], labels={"recsys.io/release": "another"}
        )["Id"]
        engine.command = ["sh", "-c", "sleep 60"]
        client.api.start(left)
        client.api.start(another)
    finally:
        client.close()
    engine.command = ["true"]
    outcome = run(featured, docker.url)
    assert outcome.state == "success", outcome.errors
    assert docker.stopped == [left, never_started], "SIGTERM first: it stores a checkpoint"
    assert docker.removed == [left, never_started, "container3"]
    assert docker.processes[left].returncode is not None
    assert docker.processes[another].returncode is None
    assert docker.created[3]["Labels"] == labels
