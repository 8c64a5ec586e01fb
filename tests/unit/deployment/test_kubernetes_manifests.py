"""The output of `kubectl kustomize` is valid and restricted as documented."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]

KUBERNETES = "1.32"
OVERLAYS = ["kind", "production", "production-spark"]


@pytest.fixture(scope="session")
def folder(repository: Path) -> Path:
    return repository / "k8s"


@pytest.fixture(scope="session", params=OVERLAYS)
def documents(request: pytest.FixtureRequest, folder: Path) -> list[Document]:
    return kustomized(folder / "overlays" / request.param)


def kustomized(overlay: Path) -> list[Document]:
    """Returns what `kubectl kustomize` makes of an overlay, without a warning."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: the overlays cannot be rendered")
    done = subprocess.run(
        [kubectl, "kustomize", str(overlay)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "kustomize warns"
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="session")
def trainer_pod(folder: Path) -> Document:
    pod: Document = yaml.safe_load((folder / "trainer-pod.yaml").read_text())
    return pod


def of_kind(documents: list[Document], kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def pod_specs(documents: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """Yields name, labels and spec of each pod that a manifest creates."""
    for document in documents:
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], document["metadata"]["labels"], document["spec"]
        elif "template" in document.get("spec", {}) and document["kind"] != "ExternalSecret":
            template = document["spec"]["template"]
            yield document["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def test_every_document_meets_the_schema_of_kubernetes(documents: list[Document]) -> None:
    import kubernetes_validate

    for document in documents:
        if document["kind"] != "ExternalSecret":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_trainers_pod_meets_the_schema_of_kubernetes(trainer_pod: Document) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(trainer_pod, KUBERNETES, strict=True)


def test_a_misspelt_field_would_be_found(trainer_pod: Document) -> None:
    import kubernetes_validate

    broken = {**trainer_pod, "spec": {**trainer_pod["spec"], "restartPolcy": "Never"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_no_pod_has_more_rights_than_it_needs(
    documents: list[Document], trainer_pod: Document
) -> None:
    checked = 0
    for name, _, spec in pod_specs([*documents, trainer_pod]):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["runAsUser"] >= 10000, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        checked += 1
    assert checked == 2


def test_every_pod_is_under_a_network_policy_of_its_own(
    documents: list[Document], trainer_pod: Document
) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    assert policies["deny-all"]["spec"]["podSelector"] == {}
    chosen = [p["spec"]["podSelector"].get("matchLabels") for p in policies.values()]
    for name, labels, _ in pod_specs([*documents, trainer_pod]):
        assert any(wanted and wanted.items() <= labels.items() for wanted in chosen), name


def test_the_trainer_reaches_names_and_objects_only(documents: list[Document]) -> None:
    policy = of_kind(documents, "NetworkPolicy")["trainer"]["spec"]
    roles = {
        target["namespaceSelector"]["matchLabels"].get("recsys.io/role")
        for rule in policy["egress"]
        for target in rule["to"]
        if "namespaceSelector" in target
    }
    assert roles == {"object-store", None}
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert 5432 not in ports, "the trainer has no business with PostgreSQL"


def test_airflows_rights_end_at_pods_and_jobs_of_one_namespace(documents: list[Document]) -> None:
    assert of_kind(documents, "ClusterRole") == {}
    rules = of_kind(documents, "Role")["recsys-launcher"]["rules"]
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert resources == {"pods", "pods/log", "events", "jobs", "jobs/status"}
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
    binding = of_kind(documents, "RoleBinding")["recsys-launcher"]
    assert {subject["namespace"] for subject in binding["subjects"]} == {"airflow"}


def test_service_accounts_that_pods_name_exist(
    documents: list[Document], trainer_pod: Document
) -> None:
    # Those of Spark are named by no pod here: test_spark_manifests.py.
    accounts = {
        name for name in of_kind(documents, "ServiceAccount") if not name.startswith("recsys-spark")
    }
    assert {s["serviceAccountName"] for _, _, s in pod_specs([*documents, trainer_pod])} == accounts


def test_no_secret_is_in_the_repository(documents: list[Document]) -> None:
    assert of_kind(documents, "Secret") == {}


def test_an_external_secret_fills_every_secret_that_a_pod_names(folder: Path) -> None:
    text = (folder / "overlays/production/external-secrets.yaml").read_text()
    made = {d["spec"]["target"]["name"] for d in yaml.safe_load_all(text)}
    assert made == {"recsys-trainer-s3", "recsys-site"}


def test_everything_lands_in_one_namespace_that_enforces_restricted_pods(
    documents: list[Document],
) -> None:
    [namespace] = of_kind(documents, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for document in documents:
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "recsys"


def test_the_site_survives_a_drained_node_and_a_rollout(documents: list[Document]) -> None:
    deployment = of_kind(documents, "Deployment")["recsys-site"]["spec"]
    budget = of_kind(documents, "PodDisruptionBudget")["recsys-site"]["spec"]
    service = of_kind(documents, "Service")["recsys-site"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert service["selector"].items() <= labels.items()
    [container] = deployment["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_quota_has_room_for_the_trainer_and_the_site(
    documents: list[Document], trainer_pod: Document
) -> None:
    quota = of_kind(documents, "ResourceQuota")["recsys"]["spec"]["hard"]
    needed = sum(
        int(container["resources"]["limits"]["memory"].removesuffix("Gi"))
        * (deployment_replicas(documents) if name == "recsys-site" else 1)
        for name, _, spec in pod_specs([*documents, trainer_pod])
        for container in spec["containers"]
    )
    assert needed <= int(quota["limits.memory"].removesuffix("Gi"))


def test_workers_of_one_training_find_each_other(
    documents: list[Document], trainer_pod: Document
) -> None:
    service = of_kind(documents, "Service")["recsys-trainer"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    assert service["selector"].items() <= trainer_pod["metadata"]["labels"].items()
    assert trainer_pod["spec"]["subdomain"] == "recsys-trainer"
    [port] = service["ports"]
    policy = of_kind(documents, "NetworkPolicy")["trainer"]["spec"]
    [rule] = policy["ingress"]
    assert [p["port"] for p in rule["ports"]] == [port["port"]]
    assert any(
        [p["port"] for p in rule["ports"]] == [port["port"]] and "podSelector" in rule["to"][0]
        for rule in policy["egress"]
    )


def deployment_replicas(documents: list[Document]) -> int:
    return int(of_kind(documents, "Deployment")["recsys-site"]["spec"]["replicas"])


def test_production_names_images_by_digest(folder: Path) -> None:
    overlay = yaml.safe_load((folder / "overlays/production/kustomization.yaml").read_text())
    for image in overlay["images"]:
        assert image["digest"].startswith("sha256:")
        assert "newTag" not in image


def test_the_resolver_of_the_node_and_https_are_allowed(documents: list[Document]) -> None:
    for name in ("trainer", "site"):
        egress = of_kind(documents, "NetworkPolicy")[name]["spec"]["egress"]
        [dns] = [rule for rule in egress if {port["port"] for port in rule["ports"]} == {53}]
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in dns["to"]
        [labels] = [target["podSelector"] for target in dns["to"] if "podSelector" in target]
        assert labels["matchExpressions"][0]["values"] == ["kube-dns", "node-local-dns"]
        [store] = [
            rule
            for rule in egress
            if {"namespaceSelector": {"matchLabels": {"recsys.io/role": "object-store"}}}
            in rule["to"]
        ]
        assert {port["port"] for port in store["ports"]} == {8333, 443}


def test_the_example_for_aws_can_be_added_to_an_overlay(folder: Path, tmp_path: Path) -> None:
    import kubernetes_validate

    shutil.copytree(folder, tmp_path / "k8s")
    overlay = tmp_path / "k8s/overlays/production/kustomization.yaml"
    overlay.write_text(overlay.read_text() + "components: [../../components/aws]\n")
    documents = kustomized(overlay.parent)
    for document in documents:
        if document["kind"] != "ExternalSecret":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    [rule] = of_kind(documents, "NetworkPolicy")["aws"]["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
    assert rule["to"][0]["ipBlock"]["except"] == ["169.254.169.254/32"]
    for account in of_kind(documents, "ServiceAccount").values():
        assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    assert "RECSYS_SITE_S3_ENDPOINT" not in of_kind(documents, "ConfigMap")["recsys-site"]["data"]


def test_an_overlay_says_what_it_contains(folder: Path) -> None:
    servers = {"StatefulSet", "PersistentVolumeClaim"}
    for name in OVERLAYS:
        documents = kustomized(folder / "overlays" / name)
        assert not servers & {document["kind"] for document in documents}
    text = (folder / "overlays/kind/kustomization.yaml").read_text()
    assert "contains no servers" in text
