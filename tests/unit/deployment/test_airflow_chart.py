"""k8s/airflow-values.yaml with the official chart, and the task's pod that Airflow makes of it.

The chart is on no package index. `RECSYS_AIRFLOW_CHART` names its archive; the workflow of CI
downloads the version that docs/deployment.md pins. Without it, the tests of the task's pod use only
what the provider defines: it joins repository and tag of the settings to the image.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]

DIGEST = "0" * 64
IMAGE = f"registry.example.org/recsys/airflow@sha256:{DIGEST}"


@pytest.fixture(scope="module")
def values(repository: Path) -> Document:
    parsed: Document = yaml.safe_load((repository / "k8s/airflow-values.yaml").read_text())
    return parsed


@pytest.fixture(scope="module")
def rendered(repository: Path, values: Document) -> list[Document]:
    """The objects of the official chart with our values; a chart that is named must render."""
    archive = os.environ.get("RECSYS_AIRFLOW_CHART")
    if not archive:
        pytest.skip(
            "the official chart is not here: set RECSYS_AIRFLOW_CHART=airflow-<version>.tgz"
        )
    from helm_python import Chart

    with Chart.load(archive) as chart:
        guide = (repository / "docs/deployment.md").read_text()
        assert f"--version {chart.version} " in guide, "the guide pins another version"
        manifests = chart.render(values, name="airflow", namespace="airflow", is_install=True)
    return [
        document
        for text in manifests.values()
        for document in yaml.safe_load_all(text)
        if isinstance(document, dict) and "kind" in document
    ]


def of_kind(documents: list[Document], kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def containers(document: Document) -> Iterator[Document]:
    """Yields the containers of every pod that an object of the chart makes."""
    spec = document["spec"]
    pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", {})
    yield from (*pod.get("initContainers", ()), *pod.get("containers", ()))


def task_pod(settings: dict[str, str], template: Document, memory: str = "1Gi") -> Document:
    """Returns the pod that KubernetesExecutor makes for a task, as the provider makes it."""
    from airflow.providers.cncf.kubernetes.kube_config import KubeConfig
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient

    from recsys_dag.placement import task_pod_override

    with pytest.MonkeyPatch.context() as patched:
        for name, value in settings.items():
            patched.setenv(f"AIRFLOW__KUBERNETES_EXECUTOR__{name.upper()}", value)
        config = KubeConfig()
        pod = PodGenerator.construct_pod(
            dag_id="movie_rec_sys",
            task_id="generate_data_frames",
            pod_id="movie-rec-sys-generate-data-frames",
            try_number=1,
            kube_image=config.kube_image,
            date=None,
            args=["python", "-m", "airflow.sdk.execution_time.execute_workload"],
            pod_override_object=task_pod_override("250m", memory),
            base_worker_pod=PodGenerator.deserialize_model_dict(template),
            namespace=config.executor_namespace,
            scheduler_job_id="1",
            run_id="scheduled",
        )
    made: Document = ApiClient().sanitize_for_serialization(pod)
    return made


def executor_settings(values: Document) -> dict[str, str]:
    return {name: str(value) for name, value in values["config"]["kubernetes_executor"].items()}


def test_the_image_of_every_process_has_one_digest(values: Document) -> None:
    images, executor = values["images"], executor_settings(values)
    airflow = images["airflow"]
    assert f"{airflow['repository']}@{airflow['digest']}" == IMAGE
    joined = "{repository}:{tag}".format(**images["pod_template"])
    assert joined == IMAGE
    repository, tag = executor["worker_container_repository"], executor["worker_container_tag"]
    assert f"{repository}:{tag}" == IMAGE
    # YAML would read an unquoted number of 64 digits as an integer.
    assert values["config"]["kubernetes_executor"]["worker_container_tag"] == DIGEST


def test_the_guides_command_sets_every_name_of_the_image(repository: Path) -> None:
    text = (repository / "k8s/airflow-values.yaml").read_text()
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert plain.count(DIGEST) == plain.count("registry.example.org/recsys/airflow") == 3
    changed = re.sub("0{64}", "1" * 64, plain).replace("registry.example.org/recsys/airflow", "r/a")
    executor = executor_settings(yaml.safe_load(changed))
    template = {"spec": {"containers": [{"name": "base", "image": "r/a:placeholder"}]}}
    [container] = task_pod(executor, template)["spec"]["containers"]
    assert container["image"] == f"r/a@sha256:{'1' * 64}"
    guide = (repository / "docs/deployment.md").read_text()
    assert r"s/0\{64\}/${DIGEST#sha256:}/" in guide


def test_a_tasks_pod_keeps_what_the_template_defines(values: Document) -> None:
    """The memory of a task is added to the template's resources, not put in their place."""
    template = {
        "spec": {
            "serviceAccountName": "airflow-worker",
            "containers": [
                {"name": "base", "image": "a:b", "resources": values["workers"]["resources"]}
            ],
        }
    }
    pod = task_pod(executor_settings(values), template, memory="4Gi")
    [container] = pod["spec"]["containers"]
    assert container["image"] == IMAGE
    assert pod["spec"]["serviceAccountName"] == "airflow-worker"
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "4Gi"},
        "limits": {"memory": "4Gi"},
    }


def test_the_chart_runs_our_image_and_nothing_that_nobody_pushed(rendered: list[Document]) -> None:
    images = {
        container["image"]
        for document in rendered
        if document["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}
        for container in containers(document)
        if "statsd" not in container["name"]
    }
    assert images == {IMAGE}
    assert not any("create-user" in name for name in of_kind(rendered, "Job"))


def test_a_tasks_pod_of_the_chart_has_image_account_secrets_and_resources(
    rendered: list[Document], values: Document
) -> None:
    import kubernetes_validate

    config = of_kind(rendered, "ConfigMap")["airflow-config"]["data"]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(config["airflow.cfg"])
    settings = dict(parser["kubernetes_executor"])
    pod = task_pod(settings, yaml.safe_load(config["pod_template_file.yaml"]))
    assert pod["metadata"]["namespace"] == "airflow"
    assert pod["spec"]["serviceAccountName"] == "airflow-worker"
    [container] = [c for c in pod["spec"]["containers"] if c["name"] == "base"]
    assert container["image"] == IMAGE
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert container["resources"]["requests"] == {"cpu": "250m", "memory": "1Gi"}
    assert {"secretRef": {"name": "airflow-alerts", "optional": True}} in container["envFrom"]
    secrets = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]["name"]
        for variable in container["env"]
        if "valueFrom" in variable and "secretKeyRef" in variable["valueFrom"]
    }
    expected = {entry["envName"]: entry["secretName"] for entry in values["secret"]}
    assert secrets.items() >= expected.items()
    assert secrets["AIRFLOW__CORE__FERNET_KEY"] == values["fernetKeySecretName"]
    assert set(secrets.values()) <= {"airflow-keys", "airflow-metadata", "airflow-connections"}
    plain = {v["name"]: v["value"] for v in container["env"] if v.get("value") is not None}
    assert plain.items() >= {entry["name"]: entry["value"] for entry in values["env"]}.items()
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    sent = {key: pod[key] for key in ("apiVersion", "kind", "spec")}
    sent["metadata"] = {"name": pod["metadata"]["name"], "namespace": "airflow"}
    kubernetes_validate.validate(sent, "1.32", strict=True)


def test_the_accounts_that_may_start_the_trainer_are_the_charts(
    rendered: list[Document], repository: Path
) -> None:
    accounts = set(of_kind(rendered, "ServiceAccount"))
    for document in yaml.safe_load_all((repository / "k8s/base/rbac.yaml").read_text()):
        for subject in document.get("subjects", ()):
            assert subject["name"] in accounts


def test_every_object_of_the_chart_meets_the_schema_of_kubernetes(rendered: list[Document]) -> None:
    import kubernetes_validate

    for document in rendered:
        kubernetes_validate.validate(document, "1.32", strict=True)


def test_the_charts_exporter_gets_our_mapping_and_airflow_sends_tags(
    rendered: list[Document], repository: Path
) -> None:
    mapping = of_kind(rendered, "ConfigMap")["airflow-statsd"]["data"]["mappings.yml"]
    compose = yaml.safe_load((repository / "docker/monitoring/statsd.yaml").read_text())
    assert yaml.safe_load(mapping) == compose
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read_string(of_kind(rendered, "ConfigMap")["airflow-config"]["data"]["airflow.cfg"])
    metrics = settings["metrics"]
    assert metrics["statsd_on"] == metrics["statsd_influxdb_enabled"] == "True"
    assert (metrics["statsd_host"], metrics["statsd_prefix"]) == ("airflow-statsd", "airflow")
    assert metrics["legacy_names_on"] == "False"


def test_the_service_monitor_finds_the_charts_exporter(
    rendered: list[Document], repository: Path
) -> None:
    service = of_kind(rendered, "Service")["airflow-statsd"]
    text = (repository / "k8s/components/monitoring/service-monitors.yaml").read_text()
    monitor = of_kind(list(yaml.safe_load_all(text)), "ServiceMonitor")["recsys-pipeline"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_cron_jobs_clean_the_database_and_the_pods_of_failed_tasks(
    rendered: list[Document],
) -> None:
    jobs = of_kind(rendered, "CronJob")
    assert set(jobs) >= {"airflow-cleanup", "airflow-database-cleanup"}
    [container] = containers(jobs["airflow-database-cleanup"])
    command = " ".join(container["args"])
    assert "airflow db clean" in command
    assert "--skip-archive" in command
    [container] = containers(jobs["airflow-cleanup"])
    assert "airflow kubernetes cleanup-pods" in " ".join(container["args"])
