"""The SparkApplication of a task, under a Kubernetes API that holds everyone to the Roles of k8s/.

The operator is Airflow's, the driver and its executors are Spark's; only the cluster is ours.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from recsys import contract, pipeline
from recsys.contract import BuildSettings, ExitCode
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.features import generate_data_frames, read_stats
from recsys.services import Services
from recsys.spark import application
from tests.actors import an_actor
from tests.conftest import fresh_bucket, fresh_database
from tests.e2e.conftest import Outcome, Pipeline, connections
from tests.e2e.fake_spark_cluster import FakeSparkCluster, Spark
from tests.e2e.kubernetes_requests import Asked
from tests.e2e.trainer_dags import serialize
from tests.spark.conftest import spark_or_skip

# Java and Spark take long to start on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGE = f"registry.example/recsys-spark@sha256:{'c' * 64}"
ONE_ADDRESS = {
    # All pods are on one loopback address: ports cannot be the same for all.
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.port": "0",
    "spark.driver.blockManager.port": "0",
    "spark.blockManager.port": "0",
    "spark.ui.enabled": "false",
    "spark.executor.cores": "1",
    "spark.executor.memory": "512m",
    "spark.kubernetes.executor.apiPollingInterval": "1s",
    "spark.kubernetes.allocation.batch.delay": "200ms",
}


@pytest.fixture(scope="module")
def rules(repository: Path) -> dict[str, list[dict[str, Any]]]:
    """What the manifests allow each account."""
    documents = [
        document
        for name in ("base/rbac.yaml", "components/spark/rbac.yaml")
        for document in yaml.safe_load_all((repository / "k8s" / name).read_text())
    ]
    roles = {d["metadata"]["name"]: d["rules"] for d in documents if d["kind"] == "Role"}
    found: dict[str, list[dict[str, Any]]] = {}
    for binding in (d for d in documents if d["kind"] == "RoleBinding"):
        for subject in binding["subjects"]:
            found.setdefault(subject["name"], []).extend(roles[binding["roleRef"]["name"]])
    return found


@pytest.fixture(scope="module")
def fetched(
    airflow_db: None, postgres_server: Postgres, s3_server: S3, small_dataset: Path
) -> Iterator[tuple[Services, pipeline.Run]]:
    """Servers on which a run has come as far as its dataset."""
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        run = pipeline.data_is_new(
            services,
            source=str(small_dataset),
            trainer_digest=f"sha256:{'b' * 64}",
            settings=BuildSettings(),
            run_id="run-1",
            force=False,
            actor=an_actor(),
        ).run
        pipeline.fetch_dataset(services, run)
        yield services, run


@pytest.fixture
def cluster(
    repository: Path,
    rules: dict[str, list[dict[str, Any]]],
    fetched: tuple[Services, pipeline.Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FakeSparkCluster]:
    services, _ = fetched
    program = spark_or_skip(repository).program
    [home] = program.parents[1].glob("lib/python3*/site-packages/pyspark")
    environment = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYSPARK_PYTHON": str(program.with_name("python")),
        "SPARK_LOCAL_IP": "127.0.0.1",
        **{name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ},
    }
    secrets = {"recsys-spark-s3": pipeline.secrets(services)}
    spark = Spark(home, Path(application.__file__), environment, secrets, ONE_ADDRESS)
    with FakeSparkCluster(spark, dict(rules), tmp_path) as fake:
        for name, value in connections(services).items():
            monkeypatch.setenv(name, value)
        extra = {"kube_config": json.dumps(fake.kube_config("airflow-worker"))}
        monkeypatch.setenv(
            "AIRFLOW_CONN_KUBERNETES_DEFAULT",
            json.dumps({"conn_type": "kubernetes", "extra": extra}),
        )
        yield fake


def run(fetched: tuple[Services, pipeline.Run], retries: int = 0) -> Outcome:
    """Runs the task in a small DAG of its own."""
    from airflow.sdk import DAG, chain, task

    from recsys_dag.defaults import task_defaults
    from recsys_dag.features.settings import SparkPodSettings
    from recsys_dag.features.spark import FeaturesOnSpark

    services, about = fetched
    of = ["recommender:movie_rec_sys"]
    with DAG("features_on_spark", schedule=None, start_date=datetime(2026, 1, 1), tags=of) as dag:

        @task(task_id="data_is_new")
        def begin(**context: Any) -> None:
            context["ti"].xcom_push(key="run", value=about.model_dump(mode="json"))

        features = FeaturesOnSpark(
            task_id="spark_data_frames",
            subcommand="frames",
            pod_settings=SparkPodSettings(image=IMAGE, executors=2),
            **task_defaults(None) | {"retries": retries, "retry_delay": timedelta(seconds=0.1)},
        )
        chain(begin(), features)
    serialize(dag)
    return Pipeline(services).run_dag(dag, {})


def when_registered(cluster: FakeSparkCluster, act: Callable[[str], None]) -> threading.Thread:
    """Does something to the first executor that the driver has taken on."""

    def wait() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for name in list(cluster.logs):
                if any(
                    "Successfully registered with driver" in line for line in cluster.logs[name]
                ):
                    act(name)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_application_loses_an_executor_and_computes_the_features_of_one_machine(
    rules: dict[str, list[dict[str, Any]]],
    fetched: tuple[Services, pipeline.Run],
    cluster: FakeSparkCluster,
    tmp_path: Path,
) -> None:
    services, about = fetched
    md5 = about.build.dataset_md5
    lost = when_registered(cluster, cluster.kill)
    outcome = run(fetched)
    lost.join()
    assert outcome.state == "success", (outcome.errors, cluster.refused, cluster.logs)
    on_spark = read_stats(about.build.features_prefix, services.store)
    services.store.delete([about.build.features_key(contract.STATS_FILE)])
    # The files are the same bytes if their sums are, which the statistics name.
    assert on_spark == generate_data_frames(md5, services.store, about.features, tmp_path)

    [driver] = cluster.pods("driver")
    assert driver["spec"]["serviceAccountName"] == "recsys-spark"
    executors = cluster.pods("executor")
    assert len(executors) == 3, "two, and one for the one that was lost"
    for pod in executors:
        assert pod["spec"]["serviceAccountName"] == "recsys-spark-executor"
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "recsys-spark"
    # What nobody asked for is a right too many: the driver's are exactly these.
    assert cluster.refused == []
    granted = {
        Asked("recsys-spark", verb, resource)
        for rule in rules["recsys-spark"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }
    assert granted == {asked for asked in cluster.asked if asked.account == "recsys-spark"}
    ours = {a for a in cluster.asked if a.resource.startswith("sparkapplications")}
    assert ours == {
        Asked("airflow-worker", "create", "sparkapplications"),
        Asked("airflow-worker", "delete", "sparkapplications"),
        Asked("airflow-worker", "get", "sparkapplications/status"),
    }
    assert cluster.objects["sparkapplications"] == {}, "what has ended is removed"


def test_an_application_with_bad_data_fails_the_task_at_once_with_the_rights_it_has(
    fetched: tuple[Services, pipeline.Run], cluster: FakeSparkCluster, tmp_path: Path
) -> None:
    cluster.spark.application = tmp_path / "application.py"
    cluster.spark.application.write_text(
        f"import sys\nprint('ERROR too many rows')\nsys.exit({int(ExitCode.BAD_DATA)})\n"
    )
    outcome = run(fetched, retries=1)
    assert outcome.state == "failed"
    assert "output: ERROR too many rows" in outcome.errors["spark_data_frames"]
    assert outcome.tries["spark_data_frames"] == 1
    assert cluster.refused == []
    assert cluster.objects["sparkapplications"] == {}


def test_a_namespace_that_was_not_made_ready_is_a_clear_error_at_once(
    fetched: tuple[Services, pipeline.Run], cluster: FakeSparkCluster
) -> None:
    """It shows, too, that the API of these tests refuses what no Role allows."""
    cluster.rules["airflow-worker"] = [
        rule for rule in cluster.rules["airflow-worker"] if rule["apiGroups"] == [""]
    ]
    outcome = run(fetched, retries=1)
    assert "k8s/overlays/production-spark" in outcome.errors["spark_data_frames"]
    assert outcome.tries["spark_data_frames"] == 1
    assert cluster.refused == [Asked("airflow-worker", "create", "sparkapplications")]
