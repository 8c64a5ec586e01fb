"""The real DAG, run by Airflow in this process, against fresh databases and buckets."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from recsys import contract
from recsys.contract import BuildSettings, Manifest
from recsys.database import PostgresSettings
from recsys.dataset import write_sample
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.object_store import S3Settings
from recsys.pipeline import Run, data_is_new, fetch_dataset, generate_data_frames, secrets
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.e2e.fake_kubernetes import FakeKubernetes, World
from tests.forks import trainer_python

if TYPE_CHECKING:
    from airflow.sdk import DAG

# Overrides for a short training, for tests that do not depend on the quality of the model.
BRIEF = {"rating": {"members": 2, "epochs": 4}, "ranking": {"epochs": 2}}


def brief_settings(**trainer: Any) -> str:
    """A value of ``RECSYS_BUILD_SETTINGS`` for a short training.

    Args:
        trainer: further fields of the trainer's settings, such as the seed.
    """
    return json.dumps({"trainer": {"overrides": BRIEF, **trainer}})


# Airflow reads these when it is first imported, so they are set before any test imports it.
_AIRFLOW = Path(tempfile.mkdtemp(prefix="recsys-airflow-"))
_REPOSITORY = Path(__file__).resolve().parents[2]
_TRAINER = Path(os.environ.get("RECSYS_TRAINER_PYTHON", _REPOSITORY / "trainer/.venv/bin/python"))
os.environ.update(
    AIRFLOW_HOME=str(_AIRFLOW),
    AIRFLOW__CORE__DAGS_FOLDER=str(_REPOSITORY / "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_AIRFLOW}/airflow.db",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    # Requests to Kubernetes that failed are made again as often, only sooner.
    AIRFLOW__WORKERS__API_RETRY_WAIT_MIN="0.1",
    AIRFLOW__WORKERS__API_RETRY_WAIT_MAX="0.2",
    RECSYS_RETRY_DELAY_S="0.1",
    RECSYS_BUILD_SETTINGS=brief_settings(),
    RECSYS_TRAINER_PYTHON=str(trainer_python(_AIRFLOW / "trainer", _TRAINER)),
)


@dataclass
class Outcome:
    """How a run of the DAG ended."""

    state: str
    reason: str | None
    tasks: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)

    def ran(self, task_id: str) -> bool:
        return self.tasks.get(task_id) == "success"


# A model of so small a dataset ranks no better than popularity; tests/e2e/test_demo.py covers the
# gate with its default thresholds.
LENIENT = {
    "gate_max_rmse_over_bias": 5,
    "gate_min_ndcg_over_popularity": -1,
    "gate_max_ndcg": 1,
    "gate_min_coverage_over_popularity": 0,
    "gate_min_rmse_share_of_bias": 0,
    "gate_max_ndcg_drop": 10,
    "gate_max_rmse_rise": 10,
    "gate_max_serving_shift": 5,
    "gate_max_served_rmse_rise": 5,
    "gate_min_evaluated_share": 0,
    "gate_min_share_over_others": 0,
    "gate_min_distinct_vectors": 0,
}
# All runs share this process, and Airflow lets a Param keep the value that a run gave it: so each
# run names all that any run changes.
DEFAULTS = {**LENIENT, "force": False, "require_approval": False}


class Pipeline:
    """Runs the DAG as an operator would trigger it."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def run(self, source: Path | str, **conf: Any) -> Outcome:
        from recsys_dag.recommenders import DAGS

        dag = DAGS["movie_rec_sys"]

        return self.run_dag(dag, {"source": str(source), **DEFAULTS, **conf})

    def run_dag(self, dag: DAG, conf: dict[str, Any]) -> Outcome:
        from recsys_dag.run_dag import Events, run

        stream = io.StringIO()
        run(dag, conf, Events(stream))
        outcome = Outcome("crashed", None)
        for line in stream.getvalue().splitlines():
            event = json.loads(line)
            if event["event"] == "end":
                outcome.state, outcome.reason = event["state"], event["reason"]
            elif event["event"] == "task":
                outcome.tasks[event["task_id"]] = event["state"]
                if "error" in event:
                    outcome.errors[event["task_id"]] = event["error"]
                if "try_number" in event:
                    outcome.tries[event["task_id"]] = event["try_number"]
        return outcome


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's metadata, once a session."""
    from airflow.utils.db import initdb

    initdb()


def untrain(services: Services, about: Run) -> None:
    """Makes a run's release one that no trainer has made yet."""
    services.store.delete([contract.release_key(about.release_id, contract.MANIFEST_FILE)])
    services.store.delete(services.store.keys(contract.release_inbox_prefix(about.release_id)))


def candidate(services: Services, about: Run) -> Manifest:
    """Returns the manifest that the trainer of a run has written to its inbox."""
    key = contract.inbox_key(about.release_id, about.run_nonce, contract.MANIFEST_FILE)
    return Manifest.from_json(services.store.get_bytes(key))


def connections(services: Services) -> dict[str, str]:
    """The Airflow Connections that lead to these servers, as environment variables."""
    s3 = services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    aws = {
        "conn_type": "aws",
        "login": s3.access_key.get_secret_value(),
        "password": s3.secret_key.get_secret_value(),
        "extra": {
            "endpoint_url": s3.endpoint,
            "region_name": s3.region,
            "bucket_name": s3.bucket,
        },
    }
    return {
        "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND": services.postgres.dsn.get_secret_value(),
        "AIRFLOW_CONN_RECSYS_S3": json.dumps(aws),
    }


@contextmanager
def _connected(services: Services) -> Iterator[Pipeline]:
    if not _TRAINER.exists():
        pytest.fail("the trainer's environment is missing: run `make setup`")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in connections(services).items():
            patched.setenv(name, value)
        yield Pipeline(services)


@pytest.fixture
def pipeline(airflow_db: None, postgres_dsn: str, s3_settings: S3Settings) -> Iterator[Pipeline]:
    """The pipeline on a fresh database and bucket."""
    services = Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)
    with _connected(services) as made:
        yield made


@pytest.fixture(scope="module")
def champion_services(
    airflow_db: None, postgres_server: Postgres, s3_server: S3, small_dataset: Path
) -> Iterator[Services]:
    """Servers on which a first release was promoted; the tests of a module share them."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        with _connected(services) as made:
            outcome = made.run(small_dataset)
            assert outcome.ran("promote_release"), (outcome.reason, outcome.errors)
        yield services


@pytest.fixture
def served(champion_services: Services) -> Iterator[Pipeline]:
    """The pipeline where a champion is being served already."""
    with _connected(champion_services) as made:
        yield made


@pytest.fixture(scope="module")
def featured(
    postgres_server: Postgres, s3_server: S3, small_dataset: Path
) -> Iterator[tuple[Services, Run]]:
    """Servers on which a run has come as far as its features; the tests of a module share them."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        yield services, compute_features(services, small_dataset, f"sha256:{'b' * 64}")


def compute_features(services: Services, source: Path, trainer_digest: str) -> Run:
    """A run of the pipeline as far as its features."""
    run = data_is_new(
        services,
        source=str(source),
        trainer_digest=trainer_digest,
        settings=BuildSettings.model_validate({"trainer": {"overrides": BRIEF}}),
        run_id=trainer_digest,
        force=False,
        actor=an_actor(),
    ).run
    fetch_dataset(services, run)
    generate_data_frames(services, run)
    return run


@pytest.fixture
def world(featured: tuple[Services, Run]) -> World:
    """A Kubernetes cluster that has the trainer's image and its Secret."""
    return trainers_world(secrets(featured[0]))


def trainers_world(keys: dict[str, str]) -> World:
    """A Kubernetes cluster where a pod is a process of the trainer."""
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_REPOSITORY)}
    return World(
        command=[os.environ["RECSYS_TRAINER_PYTHON"], "-m", "trainer"],
        cwd=_REPOSITORY,
        environment={**path, "PYTHONUNBUFFERED": "1"},
        secrets={"recsys-trainer-s3": keys},
    )


@pytest.fixture
def cluster(
    world: World, featured: tuple[Services, Run], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeKubernetes]:
    """That cluster, known to Airflow, and nothing trained yet."""
    services, about = featured
    untrain(services, about)
    with FakeKubernetes(world) as fake:
        for name, value in {**connections(services), **fake.connection}.items():
            monkeypatch.setenv(name, value)
        yield fake
    assert fake.forbidden == [], "more than the Role of k8s/base allows"


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that trains in seconds."""
    path = tmp_path_factory.mktemp("dataset") / "small.zip"
    write_sample(path, ratings=4_000, seed=1)
    return path


@pytest.fixture(scope="session")
def changed_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one."""
    path = tmp_path_factory.mktemp("dataset") / "changed.zip"
    write_sample(path, ratings=5_000, seed=1)
    return path
