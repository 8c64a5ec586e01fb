"""Monitoring on Kubernetes: the objects of the Prometheus operator lead to Services that exist."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from airflow.cli.cli_parser import get_parser

Document = dict[str, Any]
CUSTOM = {"ExternalSecret", "PrometheusRule", "ServiceMonitor"}
EXPORTER = "recsys-metadata-db-exporter"
# Service of the official chart (templates/statsd/statsd-service.yaml), Helm release airflow.
STATSD = {
    "kind": "Service",
    "metadata": {
        "name": "airflow-statsd",
        "namespace": "airflow",
        "labels": {"tier": "airflow", "component": "statsd", "release": "airflow"},
    },
    "spec": {"ports": [{"name": "statsd-ingest"}, {"name": "statsd-scrape"}]},
}


@pytest.fixture(scope="module")
def documents(repository: Path) -> list[Document]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: the overlay cannot be rendered")
    done = subprocess.run(
        [kubectl, "kustomize", str(repository / "k8s/overlays/production-monitoring")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns"
    return list(yaml.safe_load_all(done.stdout))


def named(documents: list[Document], kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def test_every_object_of_kubernetes_meets_its_schema(documents: list[Document]) -> None:
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, "1.32", strict=True)


def test_the_rules_are_those_of_compose(documents: list[Document], repository: Path) -> None:
    compose = yaml.safe_load((repository / "docker/monitoring/rules/recsys.yaml").read_text())
    assert named(documents, "PrometheusRule")["recsys"]["spec"] == compose


def test_every_service_monitor_finds_one_service_and_its_port(documents: list[Document]) -> None:
    services = [*named(documents, "Service").values(), STATSD]
    monitors = named(documents, "ServiceMonitor")
    assert monitors
    for name, monitor in monitors.items():
        spec = monitor["spec"]
        spaces = spec.get("namespaceSelector", {}).get("matchNames") or [
            monitor["metadata"]["namespace"]
        ]
        wanted = spec["selector"]["matchLabels"]
        found = [
            service
            for service in services
            if service["metadata"]["namespace"] in spaces
            and wanted.items() <= service["metadata"]["labels"].items()
        ]
        assert len(found) == 1, name
        [endpoint] = spec["endpoints"]
        assert endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}, name


def test_jobs_have_the_names_of_compose(documents: list[Document], repository: Path) -> None:
    """The rules select series by job."""
    text = (repository / "docker/monitoring/prometheus.yaml").read_text()
    compose = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    endpoints = [
        monitor["spec"]["endpoints"][0] for monitor in named(documents, "ServiceMonitor").values()
    ]
    jobs = {
        rule["replacement"]: endpoint
        for endpoint in endpoints
        for rule in endpoint["relabelings"]
        if rule["targetLabel"] == "job"
    }
    assert set(jobs) == set(compose) - {"prometheus"}
    for name, endpoint in jobs.items():
        assert endpoint.get("honorLabels", False) == compose[name].get("honor_labels", False), name


def test_the_exporter_has_no_more_rights_than_it_needs(documents: list[Document]) -> None:
    spec = named(documents, "Deployment")[EXPORTER]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] in named(documents, "ServiceAccount")
    [container] = spec["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container["resources"]["limits"]
    policy = named(documents, "NetworkPolicy")["metadata-db-exporter"]["spec"]
    [ingress] = policy["ingress"]
    assert ingress["from"] == [
        {"namespaceSelector": {"matchLabels": {"recsys.io/role": "monitoring"}}}
    ]


def test_both_deployments_have_the_same_exporter(
    documents: list[Document], repository: Path
) -> None:
    compose = yaml.safe_load((repository / "docker-compose.yaml").read_text())["services"]
    spec = named(documents, "Deployment")[EXPORTER]["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == compose["metadata-db-exporter"]["image"]


def test_secrets_and_labels_that_are_named_are_made_in_the_guide(repository: Path) -> None:
    guide = "".join(
        (repository / "docs" / page).read_text() for page in ("deployment.md", "monitoring.md")
    )
    assert f"create secret generic {EXPORTER} " in guide
    for role in ("monitoring", "metadata-database"):
        assert f"recsys.io/role={role}" in guide


def test_airflows_namespace_is_cleaned(repository: Path) -> None:
    """Pods of failed tasks, rows of the metadata database: CronJobs of the chart."""
    values = yaml.safe_load((repository / "k8s/airflow-values.yaml").read_text())
    executor = values["config"]["kubernetes_executor"]
    assert executor["delete_worker_pods"] == "True"
    # Kept for a look at why they failed, until the CronJob deletes them.
    assert executor["delete_worker_pods_on_failure"] == "False"
    assert values["cleanup"]["enabled"] is True
    # The options are those of Airflow's own command.
    options = shlex.split(values["cleanup"]["args"][-1].replace("{{ .Release.Namespace }}", "ns"))
    parsed = get_parser().parse_args(options[options.index("airflow") + 1 :])
    assert (parsed.namespace, parsed.min_completed_minutes) == ("ns", 60)
    assert values["databaseCleanup"]["enabled"] is True
    assert values["databaseCleanup"]["skipArchive"] is True
    assert values["databaseCleanup"]["retentionDays"] == 90
    for job in ("cleanup", "databaseCleanup"):
        assert "memory" in values[job]["resources"]["limits"]
