"""One setting says where features are computed; the DAG's shape and the application follow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodStatus,
)
from kubernetes.client.exceptions import ApiException

from recsys.contract import FeatureSettings
from recsys.errors import (
    ConfigurationError,
    LedgerError,
    PermanentError,
    RecsysError,
    TransientError,
)
from recsys.object_store import S3Settings
from recsys.spark.submit import SparkSubmit
from recsys_dag import environment
from recsys_dag.features import settings
from recsys_dag.features.settings import Engine, SparkPodSettings, SparkSettings
from tests.forwarded import set_forwarded
from tests.late_module import LateModule

operators = LateModule("airflow.providers.cncf.kubernetes.operators.spark_kubernetes")
exceptions = LateModule("airflow.sdk.exceptions")
spark = LateModule("recsys_dag.features.spark")
task = LateModule("recsys_dag.features.task")

IMAGE = "registry.example/recsys-spark@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("said", "expected"),
    [("", Engine.LOCAL), ("spark", Engine.SPARK), ("spark-kubernetes", Engine.SPARK_KUBERNETES)],
)
def test_the_environment_names_the_engine(
    monkeypatch: pytest.MonkeyPatch, said: str, expected: Engine
) -> None:
    monkeypatch.setenv("RECSYS_FEATURES_ENGINE", said)
    assert settings.engine() == expected


def test_an_unknown_engine_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_FEATURES_ENGINE", "hadoop")
    with pytest.raises(ConfigurationError, match="RECSYS_FEATURES_ENGINE is invalid"):
        settings.engine()


@pytest.mark.parametrize("image", ["recsys-spark:1", "", "registry.example/x@sha256:abc"])
def test_an_image_without_a_digest_is_refused(monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    monkeypatch.setenv("RECSYS_SPARK_POD_IMAGE", image)
    with pytest.raises(ConfigurationError, match="RECSYS_SPARK_POD_IMAGE"):
        environment.read(SparkPodSettings)


def test_a_master_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SPARK_MASTER", "local[2] --conf spark.x=y")
    with pytest.raises(ConfigurationError, match="RECSYS_SPARK_MASTER"):
        environment.read(SparkSettings)


def test_the_application_is_the_template_with_what_the_run_knows() -> None:
    settings = SparkPodSettings(image=IMAGE, executors=7)
    variables = {"RECSYS_S3_BUCKET": "movies"}
    rendered = spark.application(settings, ["frames", "--md5", "0" * 32], variables)["spark"]
    template = yaml.safe_load(settings.template.read_text())
    spec = rendered["spec"]
    assert (spec["image"], spec["executor"]["instances"]) == (IMAGE, 7)
    assert spec["arguments"] == ["frames", "--md5", "0" * 32]
    assert (rendered["kind"], rendered["metadata"]) == ("SparkApplication", template["metadata"])
    for role in ("driver", "executor"):
        assert {"name": "RECSYS_S3_BUCKET", "value": "movies"} in spec[role]["env"]
        # Secrets come by reference and nowhere else.
        assert spec[role]["envFrom"] == [{"secretRef": {"name": "recsys-spark-s3"}}]
        assert all("AWS" not in variable["name"] for variable in spec[role]["env"])
        assert spec[role]["securityContext"]["runAsNonRoot"] is True
        assert spec[role]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_spark_gets_the_variables_that_every_launcher_passes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forwarded = set_forwarded(monkeypatch)
    store = S3Settings(bucket="movies", endpoint="http://store:8333")
    ours = {
        "RECSYS_S3_BUCKET": "movies",
        "RECSYS_S3_REGION": "us-east-1",
        "RECSYS_S3_ENDPOINT": "http://store:8333",
    }
    assert spark.application_environment(store) == forwarded | ours
    submitted = SparkSubmit(Path("/opt/spark/bin/spark-submit"), "local[2]").environment(store)
    assert submitted.items() >= (forwarded | ours).items()


@pytest.mark.parametrize("content", ["", "spec: {}", "[", "kind: Pod"])
def test_a_template_that_is_none_is_a_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "application.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="template of the SparkApplication"):
        spark.application(SparkPodSettings(image=IMAGE, template=path), [], {})


CONTEXT: Any = {"dag": SimpleNamespace(dag_id="movie_rec_sys")}

EDGES = """
import json, os, sys
import airflow.sdk
import airflow.providers.cncf.kubernetes.operators.spark_kubernetes

# Importing Airflow is slow, so it is imported once. The DAG is made in a fork for each engine.
for engine in ("spark", "spark-kubernetes"):
    child = os.fork()
    if child == 0:
        os.environ["RECSYS_FEATURES_ENGINE"] = engine
        from recsys_dag.recommenders import DAGS

        dag = DAGS["movie_rec_sys"]
        edges = {t: sorted(dag.get_task(t).downstream_task_ids) for t in (
            "fetch_dataset", "spark_data_frames", "enable_vector_extension", "spark_movie_vectors")}
        print(json.dumps([engine, edges, type(dag.get_task("spark_data_frames")).__name__]))
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
"""


@pytest.fixture(scope="module")
def shapes(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, list[str]], str]]:
    """Edges of the DAG, and the class of a Spark task, by engine."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "RECSYS_SPARK_POD_IMAGE": IMAGE,
        "PYTHONPATH": str(repository / "dags"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", EDGES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()[-2:]]
    return {engine: (edges, kind) for engine, edges, kind in lines}


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("spark", "_PythonDecoratedOperator"), ("spark-kubernetes", "FeaturesOnSpark")],
)
def test_spark_goes_before_the_tasks_that_take_up_its_results(
    shapes: dict[str, tuple[dict[str, list[str]], str]], engine: str, kind: str
) -> None:
    edges, found = shapes[engine]
    assert edges == {
        "fetch_dataset": ["spark_data_frames"],
        "spark_data_frames": ["generate_data_frames"],
        "enable_vector_extension": ["spark_movie_vectors"],
        "spark_movie_vectors": ["load_movie_vectors"],
    }
    assert found == kind


def test_the_operator_hands_the_application_of_this_run_to_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = SimpleNamespace(build=SimpleNamespace(dataset_md5="0" * 32), features=FeatureSettings())
    s3 = S3Settings(bucket="movies", endpoint="http://s3:8333")
    monkeypatch.setattr("recsys_dag.tasks.run_of", lambda context: run)
    services = SimpleNamespace(s3=s3)
    continued: list[object] = []
    monkeypatch.setattr("recsys_dag.settings.services", lambda _: services)
    monkeypatch.setattr("recsys.pipeline.continue_build", lambda *of: continued.append(of))
    monkeypatch.setattr(
        operators.SparkKubernetesOperator,
        "execute",
        lambda self, context: self.manage_template_specs(),
    )
    operator = spark.FeaturesOnSpark(
        task_id="spark_data_frames", subcommand="frames", pod_settings=SparkPodSettings(image=IMAGE)
    )
    spec = operator.execute(CONTEXT)["spark"]["spec"]
    assert continued == [(services, run)], "a cleared task of an abandoned run starts nothing"
    assert spec["arguments"][:3] == ["frames", "--md5", "0" * 32]
    assert FeatureSettings.model_validate_json(spec["arguments"][4]) == FeatureSettings()
    assert {"name": "RECSYS_S3_ENDPOINT", "value": "http://s3:8333"} in spec["driver"]["env"]


@pytest.mark.parametrize("is_abandoned", [False, True])
def test_a_spark_task_works_only_on_a_build_that_is_alive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_abandoned: bool
) -> None:
    started = tmp_path / "started"
    submit = tmp_path / "spark-submit"
    submit.write_text(f"#!/bin/sh\necho began | tee {started}\n")
    submit.chmod(0o700)
    run = SimpleNamespace(build=SimpleNamespace(dataset_md5="0" * 32), features=FeatureSettings())
    s3 = S3Settings(bucket="movies", endpoint="http://s3:8333")
    continued: list[object] = []

    def go_on(services: object, of: object) -> None:
        continued.append(of)
        if is_abandoned:
            raise LedgerError("this run cannot continue")

    monkeypatch.setenv("RECSYS_SPARK_SUBMIT", str(submit))
    monkeypatch.setattr("recsys_dag.tasks.run_of", lambda context: run)
    monkeypatch.setattr("recsys_dag.settings.services", lambda _: SimpleNamespace(s3=s3))
    monkeypatch.setattr("recsys.pipeline.run.continue_build", go_on)
    monkeypatch.setattr("airflow.sdk.get_current_context", lambda: CONTEXT)
    with pytest.raises(LedgerError) if is_abandoned else nullcontext():
        task.spark_data_frames.function()
    assert continued == [run], "a second line within a minute is not another record"
    assert started.exists() != is_abandoned


@pytest.mark.parametrize(
    ("ended", "kind", "says"),
    [
        (V1ContainerStateTerminated(exit_code=65, message="INFO x\nERROR y"), PermanentError, "y"),
        (V1ContainerStateTerminated(exit_code=78), ConfigurationError, "exit code 78"),
        (V1ContainerStateTerminated(exit_code=75), TransientError, "exit code 75"),
        (V1ContainerStateTerminated(exit_code=137, reason="OOMKilled"), TransientError, "Overhead"),
        (None, TransientError, "ended without an exit code"),
    ],
)
def test_a_failed_driver_is_explained_by_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
    ended: V1ContainerStateTerminated | None,
    kind: type[RecsysError],
    says: str,
) -> None:
    def fail(*_: object) -> None:
        raise exceptions.AirflowException("Pod x returned a failure.")

    monkeypatch.setattr(operators.SparkKubernetesOperator, "cleanup", fail)
    state = V1ContainerState(terminated=ended)
    container = V1ContainerStatus(
        name="spark-kubernetes-driver",
        image="i",
        image_id="i",
        ready=False,
        restart_count=0,
        state=state,
    )
    driver = V1Pod(
        metadata=V1ObjectMeta(name="recsys-frames-x-driver"),
        status=V1PodStatus(container_statuses=[container]),
    )
    operator = spark.FeaturesOnSpark(
        task_id="spark_data_frames", subcommand="frames", pod_settings=SparkPodSettings(image=IMAGE)
    )
    with pytest.raises(kind, match=says) as error:
        operator.cleanup(driver, driver)
    assert type(error.value) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, ConfigurationError), (404, ConfigurationError), (503, TransientError)],
)
def test_a_refusal_of_kubernetes_is_permanent_where_the_cluster_is_not_ready_for_spark(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[RecsysError]
) -> None:
    def refuse(*_: object) -> None:
        raise ApiException(status=status, reason="said so")

    run = SimpleNamespace(build=SimpleNamespace(dataset_md5="0" * 32), features=FeatureSettings())
    monkeypatch.setattr("recsys_dag.tasks.run_of", lambda context: run)
    monkeypatch.setattr(
        "recsys_dag.settings.services", lambda _: SimpleNamespace(s3=S3Settings(bucket="movies"))
    )
    monkeypatch.setattr("recsys.pipeline.continue_build", lambda *_: None)
    monkeypatch.setattr(operators.SparkKubernetesOperator, "execute", refuse)
    operator = spark.FeaturesOnSpark(
        task_id="spark_data_frames", subcommand="frames", pod_settings=SparkPodSettings(image=IMAGE)
    )
    with pytest.raises(kind, match="said so"):
        operator.execute(CONTEXT)
