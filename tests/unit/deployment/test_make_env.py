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


def test_a_file_that_is_there_stays_as_it_is(script: Path, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("mine")
    done = make(script, path)
    assert done.returncode == 1
    assert "what to do:" in done.stderr
    assert path.read_text() == "mine"
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
