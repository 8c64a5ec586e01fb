"""k8s/airflow-values.yaml, without the chart; test_airflow_chart.py renders it with the chart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.recommenders import Namespace


@pytest.fixture(scope="session")
def values(repository: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((repository / "k8s/airflow-values.yaml").read_text())
    return parsed


def test_no_secret_is_written_out_and_no_user_has_a_known_password(
    values: dict[str, Any], repository: Path
) -> None:
    assert values["createUserJob"]["enabled"] is False
    text = (repository / "k8s/airflow-values.yaml").read_text()
    assert not re.search(r"^\s*(password|pass|fernetKey|jwtSecret|apiSecretKey):", text, re.M)
    for entry in values["env"]:
        assert not re.search("KEY|PASSWORD|TOKEN", entry["name"])


def test_secrets_that_are_named_are_made_in_the_guide(
    values: dict[str, Any], repository: Path
) -> None:
    named = {values[k] for k in values if k.endswith("SecretName")}
    named |= {values["data"]["metadataSecretName"]}
    named |= {entry["secretName"] for entry in values["secret"]}
    guide = (repository / "docs/deployment.md").read_text()
    for name in named:
        assert f"create secret generic {name} " in guide, name
    for entry in values["secret"]:
        assert f"{entry['secretKey']}=" in guide, entry


def test_the_image_is_named_by_digest_and_is_the_airflow_of_the_lock_file(
    values: dict[str, Any], repository: Path
) -> None:
    assert values["images"]["airflow"]["digest"].startswith("sha256:")
    assert "tag" not in values["images"]["airflow"]
    dockerfile = (repository / "docker/airflow/Dockerfile").read_text()
    assert f"apache/airflow:{values['airflowVersion']}-python" in dockerfile
    locked = (repository / "uv.lock").read_text()
    assert f'name = "apache-airflow"\nversion = "{values["airflowVersion"]}"' in locked


def test_the_settings_of_the_trainers_pod_are_known_and_lead_to_what_is_there(
    values: dict[str, Any], repository: Path
) -> None:
    from recsys_dag.trainer.settings import LauncherSettings, PodSettings

    given = {entry["name"]: entry["value"] for entry in values["env"]}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in given.items():
            patched.setenv(name, value)
        pod = PodSettings()
        assert LauncherSettings().launcher == "kubernetes"
    known = {f"RECSYS_TRAINER_POD_{name.upper()}" for name in PodSettings.model_fields}
    assert {name for name in given if "_POD_" in name} <= known
    base = repository / "k8s/base"
    assert f"name: {pod.namespace}\n" in (base / "namespace.yaml").read_text()
    secrets = (repository / "k8s/overlays/production/external-secrets.yaml").read_text()
    assert f"name: {pod.secret}\n" in secrets
    connection = json.loads(given[f"AIRFLOW_CONN_{pod.conn_id.upper()}"])
    assert connection["extra"] == {"in_cluster": True, "namespace": pod.namespace}


def test_the_executors_pods_are_the_account_that_may_start_the_trainer(
    values: dict[str, Any], repository: Path
) -> None:
    """With LocalExecutor it would be the scheduler, which has no permissions in rbac.yaml."""
    assert values["executor"] in {"KubernetesExecutor", "CeleryExecutor"}
    rights = list(yaml.safe_load_all((repository / "k8s/base/rbac.yaml").read_text()))
    accounts = {subject["name"] for subject in rights[1]["subjects"]}
    assert accounts >= {"airflow-worker", "airflow-triggerer"}


def test_no_airflow_component_runs_as_root(values: dict[str, Any]) -> None:
    assert values["securityContexts"]["pod"]["runAsNonRoot"] is True
    assert values["securityContexts"]["containers"]["allowPrivilegeEscalation"] is False
    for component in ("scheduler", "dagProcessor", "apiServer", "triggerer", "workers"):
        assert "memory" in values[component]["resources"]["limits"], component


def test_the_guide_lists_every_setting_of_the_trainer(repository: Path) -> None:
    from recsys_dag.trainer.settings import ContainerSettings, LauncherSettings, PodSettings

    guide = (repository / "docs/deployment.md").read_text()
    for settings in (LauncherSettings, PodSettings, ContainerSettings):
        prefix = settings.model_config.get("env_prefix", "")
        for name in settings.model_fields:
            assert f"| `{prefix}{name.upper()}` |" in guide, name


def test_the_values_set_the_dataset_and_take_the_alerts_from_a_secret(
    values: dict[str, Any], repository: Path
) -> None:
    given = {entry["name"]: entry["value"] for entry in values["env"]}
    assert given["RECSYS_SOURCE"].startswith("https://")
    [source] = yaml.safe_load(values["extraEnvFrom"])
    assert source["secretRef"] == {"name": "airflow-alerts", "optional": True}
    guide = (repository / "docs/deployment.md").read_text()
    assert "create secret generic airflow-alerts --from-env-file=alerts.env" in guide
    assert "RECSYS_SOURCE" in guide[guide.index("## Kubernetes") :]


def test_the_guide_pushes_every_image_and_unpauses_what_sends_the_alerts(repository: Path) -> None:
    guide = (repository / "docs/deployment.md").read_text()
    kubernetes = guide[guide.index("## Kubernetes") :]
    [pushed] = re.findall(r"for NAME in ([a-z ]+); do", kubernetes)
    images = {path.parent.name for path in (repository / "docker").glob("*/Dockerfile")}
    assert set(pushed.split()) == images - {"spark"}, "Spark's image is for one overlay only"
    for name in pushed.split():
        assert f"| {name} | " in kubernetes, "the guide says where its digest goes"
    loops = [set(loop.split()) for loop in re.findall(r"for DAG in ([a-z_ ]+); do", guide)]
    # Tuning is started by hand, for those who want it.
    names = Namespace("movie_rec_sys")
    assert loops == [set(names.dag_ids) - {names.tune_dag}] * 2
