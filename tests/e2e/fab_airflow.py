"""A real API server of Airflow whose accounts are in FAB, and a description of two tenants."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

REPOSITORY = Path(__file__).resolve().parents[2]
FAB = REPOSITORY / ".tools/fab"
PASSWORD = "a-passw0rd-of-this-test"  # noqa: S105
PERSONS = {
    "admin": "Admin",
    "alice": "readers",
    "bob": "film_team",
    "viewer": "Viewer",
    "nobody": None,
}
"""Names of accounts, with the role of each; ``nobody`` has no account."""

# Each command of Airflow in one process: the import takes longer than all of them.
_COMMANDS = """
import json, sys
from airflow.utils.db import initdb
if sys.argv[2:] == ["initdb"]:
    initdb()
from airflow.cli.cli_parser import get_parser
for command in json.loads(sys.argv[1]):
    parsed = get_parser().parse_args(command)
    parsed.func(parsed)
"""


def airflow_commands(
    environment: Mapping[str, str], *commands: list[str], new: bool = False
) -> None:
    """Runs commands of Airflow's command line, in a new metadata database if ``new``."""
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS, json.dumps(commands), *(["initdb"] if new else [])],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def environment(home: Path, recommenders: Path, **others: str) -> dict[str, str]:
    """The environment of Airflow's processes, with FAB laid over the pipeline's packages."""
    if not (FAB / ".synced").exists():
        pytest.fail("Airflow's manager of accounts is missing: run `make fab`")
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ
    }
    idiom = home / "idiom"
    idiom.mkdir()
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": "dags-folder", "classpath": bundle, "kwargs": {"path": str(REPOSITORY / "dags")}},
        {"name": "idiom", "classpath": bundle, "kwargs": {"path": str(idiom)}},
    ]
    port = _free_port()
    return {
        **inherited,
        "PYTHONPATH": str(FAB),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
        ),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": "a-key-that-is-long-enough-for-this-test",
        "AIRFLOW__API_AUTH__JWT_SECRET": "another-key-that-is-long-enough-for-this-test",
        # A changed right counts after a second.
        "AIRFLOW__FAB__CACHE_TTL": "1",
        "RECSYS_RECOMMENDERS": str(recommenders),
        "RECSYS_SERVICES": "recsys_dag.connections:services_of_command_line",
        **others,
    }


@contextmanager
def api_server(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """A running API server; yields its address."""
    address = environment["AIRFLOW__API__BASE_URL"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "api-server"],
            env=dict(environment),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                if requests.get(f"{address}/api/v2/version", timeout=60).ok:
                    break
            except requests.ConnectionError:
                pass
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Person:
    """Somebody who uses Airflow by HTTP; `nobody` does so without logging in."""

    def __init__(self, address: str, name: str) -> None:
        self.name = name
        self._address = address
        self._session = requests.Session()
        if name == "nobody":
            return
        login = {"username": name, "password": PASSWORD}
        answer = requests.post(f"{address}/auth/token", json=login, timeout=120)
        assert answer.status_code == 201, answer.text
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str) -> requests.Response:
        return self._send("GET", path)

    def post(self, path: str, **content: Any) -> requests.Response:
        return self._send("POST", path, **content)

    def patch(self, path: str, **content: Any) -> requests.Response:
        return self._send("PATCH", path, **content)

    def _send(self, method: str, path: str, **content: Any) -> requests.Response:
        return self._session.request(
            method, self._address + path, timeout=120, allow_redirects=False, **content
        )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
