"""Every setting of the code is documented and reaches the processes that read it.

The list is the code's (tests/settings_list.py). Documents, Compose and Kubernetes follow it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.trainer_process import FORWARDED_VARIABLES
from tests.compose import compose_command, resolved
from tests.settings_list import VARIABLE, airflow_variables, site_variables

ONE_MACHINE = {
    *("RECSYS_HOME", "RECSYS_PG_DSN", "RECSYS_TRAINER_PYTHON", "RECSYS_ROOT"),
    *("RECSYS_SOURCE_USER", "RECSYS_SOURCE_PASSWORD", "RECSYS_SOURCE_TOKEN"),
}
"""Settings of the one-machine stack and of the command line outside of Airflow."""
IN_CONNECTIONS = {
    f"RECSYS_S3_{name}"
    for name in (
        *("BUCKET", "PREFIX", "ENDPOINT", "REGION", "VERIFY", "CONFIG"),
        *("ROLE_ARN", "ROLE_OPTIONS", "STS_ENDPOINT"),
    )
}
"""In Airflow, Connections have these."""
OTHER_EXECUTORS = {
    "RECSYS_CPU_LIGHT",
    "RECSYS_CPU_FEATURES",
    "RECSYS_MEMORY_LIGHT",
    "RECSYS_MEMORY_FEATURES",
    "RECSYS_QUEUE_LIGHT",
    "RECSYS_QUEUE_FEATURES",
}
"""Settings of KubernetesExecutor and CeleryExecutor."""
KUBERNETES = re.compile(r"RECSYS_(TRAINER|SPARK)_POD_.*|RECSYS_TRAINER_WORKERS")
PASSED_ON = {"RECSYS_CODE_REVISION", *FORWARDED_VARIABLES}
"""Read by the trainer or by libraries, to which Airflow's tasks pass them on."""
DAEMONS = ("airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
FIXED = {
    "RECSYS_TRAINER_LAUNCHER",
    "RECSYS_TRAINER_DOCKER_URL",
    "RECSYS_TRAINER_DOCKER_NETWORK",
    "RECSYS_SITE_DSN",
    "RECSYS_SITE_S3_BUCKET",
    "RECSYS_SITE_S3_ENDPOINT",
    "RECSYS_SITE_S3_REGION",
}
"""Compose sets these itself."""
IN_THE_AIRFLOW_IMAGE = {"RECSYS_SERVICES"}
"""It names the pipeline's own function; a test of the command line reads it from the image."""
IN_THE_SITES_IMAGE = {"RECSYS_SITE_HOST", "RECSYS_SITE_PORT", "RECSYS_SITE_MODELS"}
"""They follow from the container's ports and volumes."""


def settings_on_compose() -> set[str]:
    inapplicable = ONE_MACHINE | IN_CONNECTIONS | OTHER_EXECUTORS | IN_THE_AIRFLOW_IMAGE
    return {
        name for name in airflow_variables() - inapplicable if not KUBERNETES.fullmatch(name)
    } | PASSED_ON


@pytest.fixture(scope="module")
def services(repository: Path) -> dict[str, Any]:
    parsed = yaml.safe_load((repository / "docker-compose.yaml").read_text())
    found: dict[str, Any] = parsed["services"]
    return found


def test_the_exceptions_are_settings_of_the_code() -> None:
    known = airflow_variables() | site_variables()
    for names in (ONE_MACHINE, IN_CONNECTIONS, OTHER_EXECUTORS, FIXED):
        assert names <= known
    assert IN_THE_AIRFLOW_IMAGE | IN_THE_SITES_IMAGE <= known


@pytest.mark.parametrize("service", DAEMONS)
def test_compose_passes_every_setting_to_every_process_of_airflow(
    services: dict[str, Any], service: str
) -> None:
    # DAG files are parsed by all of them: in a task, by the processor, for a callback.
    assert settings_on_compose() - set(services[service]["environment"]) == set()


def test_compose_passes_every_setting_to_the_site(services: dict[str, Any]) -> None:
    assert site_variables() - IN_THE_SITES_IMAGE - set(services["site"]["environment"]) == set()


def test_compose_passes_nothing_that_no_code_reads(services: dict[str, Any]) -> None:
    known = airflow_variables() | site_variables() | PASSED_ON
    given = {
        name
        for service in services.values()
        for name in service.get("environment", {})
        if VARIABLE.fullmatch(name)
    }
    assert given - known == set()


def test_values_of_the_env_file_arrive_and_unset_settings_do_not(
    repository: Path, tmp_path: Path
) -> None:
    """As Compose itself resolves the file."""
    if compose_command() is None:
        pytest.skip("docker-compose v2 is not installed: the file is not given to it")
    script = [sys.executable, "-I", str(repository / "docker/make_env.py")]
    values = {name: json.dumps({"of": name}) for name in settings_on_compose() | site_variables()}
    for name, settings in (("empty", {}), ("full", values)):
        file = tmp_path / name
        file.write_text("".join(f"{k}='{v}'\n" for k, v in settings.items()))
        subprocess.run([*script, str(file)], check=True, capture_output=True)
    full = resolved(repository, tmp_path / "full")["services"]
    empty = resolved(repository, tmp_path / "empty")["services"]
    for service in (*DAEMONS, "site"):
        names = site_variables() if service == "site" else settings_on_compose()
        wanted = names - FIXED - IN_THE_SITES_IMAGE
        environment = full[service]["environment"]
        assert {name: environment[name] for name in wanted} == {n: values[n] for n in wanted}
        unset = {n for n in wanted if empty[service]["environment"].get(n) is None}
        assert wanted - unset <= {"RECSYS_SOURCE", "NO_PROXY", "no_proxy"}, (
            "an empty text is not an unset variable"
        )


def test_without_the_profile_monitoring_no_service_sends_to_a_name_that_is_not_there(
    repository: Path, services: dict[str, Any]
) -> None:
    started = {name for name, service in services.items() if "profiles" not in service}
    for name in started:
        environment = services[name].get("environment", {})
        if environment.get("AIRFLOW__METRICS__STATSD_ON") == "True":
            host = environment["AIRFLOW__METRICS__STATSD_HOST"]
            assert host in started
            # Resolved once, when the process starts.
            if name != "make-bucket":
                assert host in services[name]["depends_on"], name
                assert set(services[name]["networks"]) & set(services[host]["networks"]), name


def test_every_service_has_a_memory_limit_and_airflows_logs_a_volume(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        # These only build images; RECSYS_TRAINER_DOCKER_MEMORY limits runs.
        if name not in {"trainer", "verifier"}:
            assert "mem_limit" in service, name
    for name in (*DAEMONS, "airflow-maintenance"):
        assert "airflow-logs:/opt/airflow/logs" in services[name]["volumes"], name


def test_settings_md_lists_every_setting(repository: Path) -> None:
    """Or names the page that lists a family, such as `RECSYS_ALERT_*`."""
    text = (repository / "docs/settings.md").read_text()
    families = {name.removesuffix("*") for name in re.findall(r"RECSYS_[A-Z_]+_\*", text)}
    named = set(re.findall(r"`([A-Za-z][A-Za-z0-9_]+)`", text))
    missing = {
        name
        for name in airflow_variables() | PASSED_ON
        if name not in named and not any(name.startswith(family) for family in families)
    }
    assert missing == set()


def test_kubernetes_sets_only_what_the_code_reads(repository: Path) -> None:
    known = airflow_variables() | site_variables() | PASSED_ON
    files = [*(repository / "k8s").rglob("*.yaml")]
    assert files
    for file in files:
        # A comment may name a family, RECSYS_ALERT_*.
        named = {
            name
            for name in VARIABLE.findall(file.read_text())
            if not any(setting.startswith(f"{name}_") for setting in known)
        }
        # The pod's contract with the trainer: `python -m trainer --help`.
        assert named - known <= {"RECSYS_XCOM_DIR"}, file.name
