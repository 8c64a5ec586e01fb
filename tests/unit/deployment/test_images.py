"""Dockerfiles and the Compose file, checked without a container engine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.trainer_process import SHARED_MODULES
from tests.compose import compose_command, resolved

IMAGES = ["airflow", "site", "spark", "trainer", "verifier"]
EXACT_TAG = re.compile(
    r"^[a-z0-9.-]+\.[a-z]+/[a-z0-9./_-]+:(v?[0-9]+\.[0-9]+|RELEASE\.\d{4}-\d\d-)[A-Za-z0-9.-]*$"
)


@pytest.fixture(scope="session")
def compose(repository: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((repository / "docker-compose.yaml").read_text())
    return parsed


def dockerfile(repository: Path, image: str) -> str:
    return (repository / "docker" / image / "Dockerfile").read_text()


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing(repository: Path, image: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", f"docker/{image}/Dockerfile"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("image", IMAGES)
def test_base_images_have_exact_tags(repository: Path, image: str) -> None:
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", dockerfile(repository, image), re.M)
    assert bases
    for base in bases:
        assert EXACT_TAG.match(base), base


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_prints_its_revision(repository: Path, image: str) -> None:
    assert 'org.opencontainers.image.revision="${REVISION}"' in dockerfile(repository, image)


@pytest.mark.parametrize("image", ["site", "spark", "trainer"])
def test_the_last_layer_has_a_numeric_user_and_no_compiler(repository: Path, image: str) -> None:
    last = dockerfile(repository, image).split("\nFROM ")[-1]
    assert "USER 10001:10001" in last
    assert "STOPSIGNAL SIGTERM" in last
    assert not re.search(r"apt-get|gcc|build-essential|pip install", last)


def test_airflows_image_has_no_tensorflow_and_the_trainers_no_airflow(repository: Path) -> None:
    def locked(path: str) -> set[str]:
        packages = tomllib.loads((repository / path).read_text())["package"]
        return {package["name"] for package in packages}

    assert not {name for name in locked("uv.lock") if name.startswith(("tensorflow", "keras"))}
    assert not {name for name in locked("trainer/uv.lock") if "airflow" in name}


def test_the_trainers_image_holds_the_modules_that_its_digest_is_made_of(repository: Path) -> None:
    """A change of the image must also change the digest of a local trainer."""
    text = dockerfile(repository, "trainer")
    copied = re.findall(r"src/recsys/([\w.]+)", text)
    assert sorted(copied) == sorted(SHARED_MODULES)
    packages = {path.parent.name for path in (repository / "trainer").glob("*/__init__.py")}
    assert set(re.findall(r"COPY trainer/(\w+)/ ", text)) == packages


@pytest.mark.parametrize("image", IMAGES)
def test_what_a_dockerfile_copies_is_there_and_not_ignored(repository: Path, image: str) -> None:
    allowed = [
        line[1:]
        for line in (repository / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    text = dockerfile(repository, image).replace("\\\n", " ")
    sources = [
        part
        for line in re.findall(r"^COPY (?!.*--from)(.+)$", text, re.M)
        for part in line.split()[:-1]
        if not part.startswith("--")
    ]
    assert sources
    for source in sources:
        assert list(repository.glob(source)), source
        assert any(source == name or source.startswith(name + "/") for name in allowed), source


def test_every_service_is_pinned_watched_and_bound_to_loopback(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        image = service["image"]
        assert EXACT_TAG.match(image) or image.endswith(":local"), image
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
    for name in ("airflow-db", "vector-db", "object-store", "airflow-api", "airflow-scheduler"):
        assert "healthcheck" in compose["services"][name], name


def test_no_password_has_a_default(compose: dict[str, Any]) -> None:
    text = yaml.safe_dump(compose)
    wanted = set(re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)[^}]*\}", text))
    assert wanted
    for variable, default in re.findall(r"\$\{(\w+)(:?[-?][^}]*)?\}", text):
        if variable in wanted:
            assert default.startswith(":?"), f"{variable} must be given"


def test_every_volume_network_and_config_that_is_named_exists(
    compose: dict[str, Any], repository: Path
) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (repository / source).exists(), source
            else:
                assert source == "/var/run/docker.sock" or source in compose["volumes"], source
        assert set(service.get("networks", [])) <= set(compose["networks"])
        named = {config["source"] for config in service.get("configs", [])}
        assert named <= set(compose["configs"])


def test_only_the_scheduler_reaches_the_engine(compose: dict[str, Any]) -> None:
    """An account that can start containers is root on the machine."""
    reach = {n for n, s in compose["services"].items() if "engine" in s.get("networks", [])}
    assert reach == {"docker-proxy", "airflow-scheduler"}
    mounts = {
        name
        for name, service in compose["services"].items()
        if any("docker.sock" in volume for volume in service.get("volumes", []))
    }
    assert mounts == {"docker-proxy"}


def test_the_site_and_the_pipeline_have_accounts_of_their_own(compose: dict[str, Any]) -> None:
    site = compose["services"]["site"]["environment"]
    assert "SITE_S3_ACCESS_KEY" in site["AWS_ACCESS_KEY_ID"]
    assert site["RECSYS_SITE_DSN"].startswith("postgresql://recsys_reader:")
    airflow = compose["services"]["airflow-scheduler"]["environment"]
    pipeline = airflow["AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND"]
    assert pipeline.startswith("postgresql://recsys_pipeline:")


def test_the_trainers_image_gets_its_digest_from_the_registry_on_loopback(
    compose: dict[str, Any],
) -> None:
    from recsys_dag.trainer.settings import digest_of

    [port] = compose["services"]["registry"]["ports"]
    name, _, _ = compose["services"]["trainer"]["image"].rpartition(":")
    assert name.startswith(port.rpartition(":")[0] + "/")
    assert digest_of(f"{name}@sha256:{'1' * 64}")
    airflow = compose["services"]["airflow-scheduler"]["environment"]
    shadows = "AIRFLOW_VAR_RECSYS_TRAINER_IMAGE"
    assert shadows not in airflow, "a variable of the environment hides what was announced"


@pytest.mark.parametrize("profile", ["", "build", "monitoring", "minio"])
def test_compose_itself_accepts_the_file(repository: Path, tmp_path: Path, profile: str) -> None:
    if compose_command() is None:
        pytest.skip("docker-compose v2 is not installed: the file is not given to it")
    env_file = tmp_path / ".env"
    make = [sys.executable, "-I", str(repository / "docker/make_env.py"), str(env_file)]
    subprocess.run(make, check=True, capture_output=True)
    resolved(repository, env_file, *filter(None, [profile]))
