"""Features on Spark in Kubernetes: manifests, the SparkApplication and the image fit together."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deployment.test_kubernetes_manifests import (
    KUBERNETES,
    Document,
    deployment_replicas,
    of_kind,
    pod_specs,
)

ROLES = ("driver", "executor")


def render(repository: Path, overlay: str) -> list[Document]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: the overlays cannot be rendered")
    command = [kubectl, "kustomize", str(repository / "k8s" / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="session")
def documents(repository: Path) -> list[Document]:
    return render(repository, "production-spark")


@pytest.fixture(scope="session")
def application(repository: Path) -> Document:
    parsed: Document = yaml.safe_load((repository / "k8s/spark-application.yaml").read_text())
    return parsed


@pytest.fixture(scope="session")
def dockerfile(repository: Path) -> str:
    return (repository / "docker/spark/Dockerfile").read_text()


def gibibytes(quantity: str) -> int:
    """Spark writes 2g where Kubernetes writes 2Gi."""
    return int(re.sub("g|Gi", "", quantity))


def test_nothing_of_spark_is_in_an_overlay_that_did_not_ask_for_it(repository: Path) -> None:
    for overlay in ("kind", "production"):
        assert "spark" not in yaml.safe_dump_all(render(repository, overlay))


def test_the_overlay_is_production_and_what_spark_needs(
    repository: Path, documents: list[Document]
) -> None:
    def names(found: list[Document]) -> set[tuple[str, str]]:
        return {(d["kind"], d["metadata"]["name"]) for d in found}

    more = names(documents) - names(render(repository, "production"))
    assert names(render(repository, "production")) < names(documents)
    assert more == {
        ("ServiceAccount", "recsys-spark"),
        ("ServiceAccount", "recsys-spark-executor"),
        ("Role", "recsys-spark"),
        ("Role", "recsys-spark-launcher"),
        ("RoleBinding", "recsys-spark"),
        ("RoleBinding", "recsys-spark-launcher"),
        ("NetworkPolicy", "spark"),
        ("NetworkPolicy", "spark-driver"),
        ("ExternalSecret", "recsys-spark-s3"),
    }


def test_only_the_driver_has_a_token_for_kubernetes(
    documents: list[Document], application: Document
) -> None:
    accounts = of_kind(documents, "ServiceAccount")
    driver, executor = (accounts[application["spec"][role]["serviceAccount"]] for role in ROLES)
    assert driver["automountServiceAccountToken"] is True
    assert executor["automountServiceAccountToken"] is False
    bound = [
        subject["name"]
        for binding in of_kind(documents, "RoleBinding").values()
        for subject in binding["subjects"]
    ]
    assert driver["metadata"]["name"] in bound
    assert executor["metadata"]["name"] not in bound


def test_the_driver_makes_pods_and_what_belongs_to_them_in_one_namespace_and_reads_no_secret(
    documents: list[Document],
) -> None:
    assert of_kind(documents, "ClusterRole") == {}
    rules = of_kind(documents, "Role")["recsys-spark"]["rules"]
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert resources == {"pods", "configmaps", "persistentvolumeclaims", "services"}
    assert all("*" not in rule["verbs"] and rule["apiGroups"] == [""] for rule in rules)
    [subject] = of_kind(documents, "RoleBinding")["recsys-spark"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "recsys-spark", "namespace": "recsys"}


def test_airflow_may_start_and_remove_applications_and_touch_nothing_else_of_spark(
    documents: list[Document],
) -> None:
    rules = of_kind(documents, "Role")["recsys-spark-launcher"]["rules"]
    assert {group for rule in rules for group in rule["apiGroups"]} == {"sparkoperator.k8s.io"}
    granted = {(verb, r) for rule in rules for verb in rule["verbs"] for r in rule["resources"]}
    assert granted == {
        ("create", "sparkapplications"),
        ("delete", "sparkapplications"),
        ("get", "sparkapplications/status"),
    }
    subjects = of_kind(documents, "RoleBinding")["recsys-spark-launcher"]["subjects"]
    assert [(s["name"], s["namespace"]) for s in subjects] == [("airflow-worker", "airflow")]


@pytest.mark.parametrize("role", ROLES)
def test_the_policies_admit_the_ports_that_spark_uses(
    documents: list[Document], application: Document, role: str
) -> None:
    spec = application["spec"]
    policy = of_kind(documents, "NetworkPolicy")["spark"]["spec"]
    chosen = policy["podSelector"]["matchLabels"]
    assert chosen.items() <= spec[role]["labels"].items()
    conf = spec["sparkConf"]
    used = {
        int(conf[name])
        for name in (
            "spark.driver.port",
            "spark.driver.blockManager.port",
            "spark.blockManager.port",
        )
    }
    among = [{"podSelector": {"matchLabels": chosen}}]
    [rule] = policy["ingress"]
    assert rule["from"] == among
    assert {port["port"] for port in rule["ports"]} == used
    [back] = [rule for rule in policy["egress"] if rule["to"] == among]
    assert back["ports"] == rule["ports"]


def test_spark_reaches_names_and_objects_and_the_driver_kubernetes_besides(
    documents: list[Document],
) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    egress = policies["spark"]["spec"]["egress"]
    assert 5432 not in {port["port"] for rule in egress for port in rule["ports"]}
    roles = {
        target["namespaceSelector"]["matchLabels"].get("recsys.io/role")
        for rule in egress
        for target in rule["to"]
        if "namespaceSelector" in target
    }
    assert roles == {"object-store", None}
    blocks = [t["ipBlock"]["cidr"] for rule in egress for t in rule["to"] if "ipBlock" in t]
    assert blocks == ["169.254.20.10/32"], "NodeLocal DNSCache, and no other address"
    driver = policies["spark-driver"]["spec"]
    assert driver["podSelector"]["matchLabels"]["spark-role"] == "driver"
    [rule] = driver["egress"]
    assert {port["port"] for port in rule["ports"]} == {443, 6443}
    # The Internet is not among them: this pod holds keys.
    assert {target["ipBlock"]["cidr"] for target in rule["to"]} == {
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    }


def test_the_quota_has_room_for_spark_besides_the_trainer_and_the_site(
    repository: Path, documents: list[Document], application: Document
) -> None:
    hard = of_kind(documents, "ResourceQuota")["recsys"]["spec"]["hard"]
    trainer = yaml.safe_load((repository / "k8s/trainer-pod.yaml").read_text())
    needed = dict.fromkeys(("pods", "cpu", "requests", "limits", "disk"), 0.0)

    def add(count: int, resources: Document) -> None:
        requests, limits = resources["requests"], resources["limits"]
        cpu = requests["cpu"]
        needed["pods"] += count
        needed["cpu"] += count * (int(cpu[:-1]) / 1000 if cpu.endswith("m") else int(cpu))
        needed["requests"] += count * gibibytes(requests["memory"])
        needed["limits"] += count * gibibytes(limits["memory"])
        needed["disk"] += count * gibibytes(requests["ephemeral-storage"])

    for name, _, spec in pod_specs([*documents, trainer]):
        [container] = spec["containers"]
        # One pod more while one release of the site follows another.
        add(
            deployment_replicas(documents) + 1 if name == "recsys-site" else 1,
            container["resources"],
        )
    for role, count in zip(ROLES, (1, application["spec"]["executor"]["instances"]), strict=True):
        spec = application["spec"][role]
        memory = f"{gibibytes(spec['memory']) + gibibytes(spec['memoryOverhead'])}Gi"
        [container] = spec["template"]["spec"]["containers"]
        disk = container["resources"]["requests"]["ephemeral-storage"]
        requests = {"cpu": str(spec["cores"]), "memory": memory, "ephemeral-storage": disk}
        add(count, {"requests": requests, "limits": {"memory": memory}})

    assert needed["pods"] <= int(hard["pods"])
    assert needed["cpu"] <= int(hard["requests.cpu"])
    assert needed["requests"] <= gibibytes(hard["requests.memory"])
    assert needed["limits"] <= gibibytes(hard["limits.memory"])
    assert needed["disk"] <= gibibytes(hard["requests.ephemeral-storage"])


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_of_spark_meets_the_schema_of_kubernetes_and_is_restricted(
    application: Document, role: str
) -> None:
    import kubernetes_validate

    spec = application["spec"][role]
    pod_spec = spec["template"]["spec"]
    [container] = pod_spec["containers"]
    # What Spark and the operator's webhook make of it.
    whole = {
        **container,
        "image": application["spec"]["image"],
        "env": spec["env"],
        "envFrom": spec["envFrom"],
        "securityContext": spec["securityContext"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "spark", "labels": spec["labels"]},
        "spec": {**pod_spec, "containers": [whole]},
    }
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    # The name by which Spark knows its container among those of a template.
    assert container["name"] == f"spark-kubernetes-{role}"
    assert spec["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    # Nothing but this can be written to.
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108
    assert {"name": "TMPDIR", "value": "/tmp"} in spec["env"]  # noqa: S108
    # The namespace's default of 1 GiB is less than a shuffle.
    assert gibibytes(container["resources"]["limits"]["ephemeral-storage"]) >= 20


def test_spark_has_an_account_of_its_own_that_reads_datasets_and_writes_features_only(
    repository: Path, documents: list[Document], application: Document
) -> None:
    for role in ROLES:
        [reference] = application["spec"][role]["envFrom"]
        made = of_kind(documents, "ExternalSecret")[reference["secretRef"]["name"]]
        keys = {entry["secretKey"] for entry in made["spec"]["data"]}
        assert keys == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        assert made["spec"]["target"]["name"] == "recsys-spark-s3"
    policy = json.loads((repository / "docker/s3/spark.json").read_text())
    allowed: dict[str, set[str]] = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            allowed.setdefault(action, set()).add(statement["Resource"].rsplit(":", 1)[1])
    assert allowed["s3:GetObject"] == {"BUCKET/datasets/*", "BUCKET/features/*"}
    assert allowed["s3:PutObject"] == allowed["s3:DeleteObject"] == {"BUCKET/features/*"}
    [listing] = [s for s in policy["Statement"] if s["Action"] == ["s3:ListBucket"]]
    # A condition on the prefix would make a missing object a refusal (403) on Amazon S3.
    assert "Condition" not in listing


def test_image_lock_file_and_application_are_one_version_of_spark(
    repository: Path, application: Document, dockerfile: str
) -> None:
    packages = tomllib.loads((repository / "spark/uv.lock").read_text())["package"]
    [locked] = [package["version"] for package in packages if package["name"] == "pyspark"]
    assert application["spec"]["sparkVersion"] == locked
    [tag] = re.findall(r"^ARG SPARK_IMAGE=docker\.io/apache/spark:(\S+)$", dockerfile, re.M)
    assert tag.startswith(f"{locked}-")
    assert "java17" in tag


def test_the_application_starts_the_file_that_the_image_has(
    application: Document, dockerfile: str
) -> None:
    assert application["spec"]["mainApplicationFile"].startswith("local:///")
    path = application["spec"]["mainApplicationFile"].removeprefix("local://")
    assert f"COPY src/recsys/spark/application.py {path}\n" in dockerfile


def test_driver_executors_and_airflow_have_the_same_python(
    repository: Path, dockerfile: str
) -> None:
    def python(text: str) -> Any:
        found = re.search(r"^ARG PYTHON_IMAGE=\S+/python:(\d+\.\d+)\.", text, re.M)
        assert found
        return found[1]

    assert python(dockerfile) == python((repository / "docker/airflow/Dockerfile").read_text())
    for variable in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        assert f"{variable}=/opt/venv/bin/python" in dockerfile
