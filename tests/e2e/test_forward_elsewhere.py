"""Stars in the forward test where the trainer runs in a container or a pod: the verifier's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys import contract, ledger
from recsys.dataset import write_sample
from recsys.experiments import History
from recsys.gate import ForwardTest
from recsys.services import Services
from tests.descriptions import MOVIES
from tests.e2e.conftest import Outcome, compute_features, connections, trainers_world
from tests.e2e.fake_docker import Engine, FakeDocker
from tests.e2e.fake_kubernetes import FakeKubernetes
from tests.e2e.trainer_dags import IMAGE, ROOT, Featured, run_trainer

FORWARD = ("predict_newer_ratings", "forward_test")
NOT_BUILT_YET = f"sha256:{'c' * 64}"


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two dumps of one history."""
    folder = tmp_path_factory.mktemp("history")
    write_sample(folder / "all.zip", ratings=6000)
    history = History.read(folder / "all.zip")
    times = history.ratings["timestamp"]
    return [dump.path for dump in history.write(folder, [times[4000], times[-1]])]


@pytest.fixture
def newer(pipeline: Any, dumps: list[Path]) -> Featured:
    """A champion of the first dump, and a run that has come to the features of the second."""
    outcome = pipeline.run(dumps[0])
    assert outcome.ran("promote_release"), (outcome.reason, outcome.errors)
    assert outcome.ran("forward_test")
    services: Services = pipeline.services
    return services, compute_features(services, dumps[1], NOT_BUILT_YET)


@pytest.fixture(params=["docker", "kubernetes"])
def elsewhere(
    request: pytest.FixtureRequest, newer: Featured, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """An engine or a cluster that runs images as processes, which Airflow knows."""
    services, _ = newer
    keys = connections(services)
    secrets = {
        "AWS_ACCESS_KEY_ID": services.s3.access_key.get_secret_value(),  # type: ignore[union-attr]
        "AWS_SECRET_ACCESS_KEY": services.s3.secret_key.get_secret_value(),  # type: ignore[union-attr]
    }
    monkeypatch.setenv("RECSYS_TRAINER_LAUNCHER", request.param)
    if request.param == "docker":
        engine = Engine(
            images={IMAGE},
            command=[os.environ["RECSYS_TRAINER_PYTHON"], "-m", "trainer"],
            cwd=ROOT,
            environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )
        with FakeDocker(engine) as fake:
            monkeypatch.setenv("RECSYS_TRAINER_DOCKER_URL", fake.url)
            for name, value in keys.items():
                monkeypatch.setenv(name, value)
            yield fake
        return
    with FakeKubernetes(trainers_world(secrets)) as cluster:
        for name, value in {**keys, **cluster.connection}.items():
            monkeypatch.setenv(name, value)
        yield cluster
        assert cluster.forbidden == []


def run(newer: Featured) -> Outcome:
    """Runs the tasks as the weekly DAG wires them."""
    from airflow.providers.standard.operators.empty import EmptyOperator

    from recsys_dag import tasks
    from recsys_dag.recommenders import DAGS

    dag = DAGS["movie_rec_sys"]
    from recsys_dag.trainer.task import stars_task

    # This DAG was parsed with the local launcher; the rule is the same.
    rule = dag.get_task("forward_test").trigger_rule

    def operators(defaults: dict[str, Any]) -> list[Any]:
        [stars] = stars_task(MOVIES, **defaults)
        frames = EmptyOperator(task_id="generate_data_frames", **defaults)
        test = tasks.forward_test.override(**defaults, trigger_rule=rule)()
        frames >> test
        return [frames, stars, test]

    return run_trainer(newer, operators)


def newest(services: Services) -> ForwardTest:
    with services.connect() as conn:
        [found] = ledger.newest_forward_tests(conn)
    return found.test


def test_the_verifier_predicts_the_stars_of_the_forward_test(
    newer: Featured, elsewhere: Any
) -> None:
    services, about = newer
    with services.connect() as conn:
        champion = ledger.champion(conn)
    assert champion is not None

    outcome = run(newer)

    assert outcome.state == "success", outcome.errors
    assert all(outcome.ran(name) for name in FORWARD)
    test = newest(services)
    assert (test.release_id, test.problem) == (champion.release_id, "")
    assert 0.2 < test.metrics["rmse"].value < 2
    assert test.rows == test.ratings > 500
    assert services.store.keys(contract.release_inbox_prefix(about.release_id)) == []
    assert services.store.keys(contract.SEALS_PREFIX) == []


def test_without_the_verifier_the_rankings_are_tested_and_the_run_succeeds(
    newer: Featured, elsewhere: Any
) -> None:
    services, _ = newer
    broken = elsewhere.engine if isinstance(elsewhere, FakeDocker) else elsewhere.world
    broken.command = ["sh", "-c", "echo no such command; exit 78"]

    outcome = run(newer)

    assert outcome.tasks["predict_newer_ratings"] == "failed"
    assert outcome.tries["predict_newer_ratings"] == 1, "it is permanent"
    assert outcome.ran("forward_test")
    assert outcome.state == "success"
    test = newest(services)
    assert "the verifier predicted no stars" in test.problem
    assert set(test.metrics) == {"ndcg@10", "recall@10"}
