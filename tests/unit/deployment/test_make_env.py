"""docker/make_env.py: random secrets, readable only by their owner, never replaced."""

from __future__ import annotations

import base64
import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "docker/make_env.py"


def make(script: Path, path: Path) -> subprocess.CompletedProcess[str]:
    # Isolated: it must run on any Python, before anything is installed.
    command = [sys.executable, "-I", str(script), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_it_gives_compose_every_secret_that_it_asks_for(
    script: Path, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    done = make(script, path)
    assert done.returncode == 0, done.stderr
    given = read(path)
    asked = set(re.findall(r"\$\{(\w+):\?", (repository / "docker-compose.yaml").read_text()))
    assert set(given) == asked
    assert not [value for value in given.values() if value in done.stdout]


def test_only_its_owner_may_read_it(script: Path, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    make(script, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_complete_file_stays_as_it_is(script: Path, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    make(script, path)
    path.write_text(path.read_text() + "\n# mine\nS3_BUCKET=mine\n")
    before = path.stat(), path.read_text()
    done = make(script, path)
    assert done.returncode == 0
    assert "was not changed" in done.stdout
    assert (path.stat(), path.read_text()) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_partial_file_gets_what_it_lacks_and_keeps_the_rest(script: Path, tmp_path: Path) -> None:
    """After an upgrade that needs another secret, or with settings written before the secrets."""
    path = tmp_path / ".env"
    make(script, path)
    full = read(path)
    kept = [
        "# my settings",
        "RECSYS_SOURCE=https://files.example.org/ml.zip",
        "",
        'RECSYS_BUILD_SETTINGS=\'{"trainer": {"seed": 20}}\'',
        f"export VECTOR_DB_PASSWORD={full['VECTOR_DB_PASSWORD']}",
        f'S3_SECRET_KEY="{full["S3_SECRET_KEY"]}"',
    ]
    # The last line has no end.
    path.write_text("\n".join([*kept[:3], "GRAFANA_PASSWORD=", "S3_ACCESS_KEY=''", *kept[3:]]))
    path.chmod(0o644)
    done = make(script, path)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    assert text.splitlines()[: len(kept)] == kept
    after = read(path)
    assert set(full) <= {name.removeprefix("export ") for name in after}
    assert len(after["GRAFANA_PASSWORD"]) == len(after["S3_ACCESS_KEY"]) == 64
    assert sum(line.startswith("GRAFANA_PASSWORD=") for line in text.splitlines()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "GRAFANA_PASSWORD" in done.stdout
    assert "VECTOR_DB_PASSWORD" not in done.stdout
    assert not [value for name, value in after.items() if name in full and value in done.stdout]
    assert list(tmp_path.iterdir()) == [path]


def test_no_two_secrets_are_alike_and_each_has_its_form(script: Path, tmp_path: Path) -> None:
    values = []
    for name in ("one", "two"):
        make(script, tmp_path / name)
        given = read(tmp_path / name)
        assert len(base64.urlsafe_b64decode(given["AIRFLOW_FERNET_KEY"])) == 32
        assert list(json.loads(given["AIRFLOW_PASSWORDS"])) == ["admin"]
        values += given.values()
    assert len(set(values)) == len(values)


def test_git_and_the_images_never_see_it(repository: Path) -> None:
    assert "/.env" in (repository / ".gitignore").read_text().splitlines()
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not any(line.startswith("!.env") for line in ignored)
