"""The private key of signatures reaches the step that signs, and neither trainer nor log."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from recsys import trainer_process
from recsys.contract import Build, TrainerInput
from recsys.trainer_process import LocalTrainer
from tests.signing_keys import KeyPair, make_keys

GIVEN = TrainerInput(
    build=Build(dataset_md5="1" * 32, trainer_digest=f"sha256:{'a' * 64}", settings={}),
    run_nonce="n" * 8,
    s3_bucket="recsys",
    s3_endpoint="http://127.0.0.1:1",
    s3_region="us-east-1",
)
_READ = """
import os, sys
sys.path[:0] = {paths!r}
from recsys.errors import ConfigurationError
from recsys_dag import descriptions, settings
try:
    key = settings.signing_key(descriptions.named("movie_rec_sys"))
    print(key.public.fingerprint if key else None)
except ConfigurationError as error:
    print("refused:", error)
"""


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path, "signing")


def set_key(monkeypatch: pytest.MonkeyPatch, keys: KeyPair) -> dict[str, str]:
    variables = {
        "RECSYS_SIGNING_KEY_FILE": str(keys.private),
        "AIRFLOW_CONN_RECSYS_SIGNING": json.dumps({"password": keys.private.read_text()}),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_the_trainers_process_has_no_variable_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: KeyPair
) -> None:
    variables = set_key(monkeypatch, keys)
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\n")
    stand_in.chmod(0o700)
    lines: list[str] = []
    LocalTrainer(python=stand_in, root=tmp_path).run("train", GIVEN, {}, lines.append)
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert found["RECSYS_S3_BUCKET"] == "recsys", lines
    assert not found.keys() & variables.keys()
    secret = keys.private.read_text().splitlines()[1]
    assert not [line for line in lines if secret in line or str(keys.private) in line]


def test_no_launcher_passes_the_key_on(monkeypatch: pytest.MonkeyPatch, keys: KeyPair) -> None:
    variables = set_key(monkeypatch, keys)
    passed = trainer_process.forwarded_variables()
    assert not passed.keys() & {*variables, "RECSYS_VERIFICATION_KEYS"}


def test_only_the_tasks_that_sign_ask_for_the_key(repository: Path) -> None:
    callers = {
        (path.name, function.name)
        for path in (repository / "dags").rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("signing_key")
    }
    assert callers == {
        ("tasks.py", "gate_candidate"),
        ("tasks.py", "certify_erasure"),
        ("settings.py", "signing_key"),
        ("connections.py", "signing_key"),
    }


@pytest.mark.parametrize("form", ["lines", "one line", "file", "both", "damaged", "none"])
def test_the_key_comes_from_the_connection_or_else_from_the_file(
    tmp_path: Path, keys: KeyPair, repository: Path, form: str
) -> None:
    pem = keys.private.read_text()
    other = make_keys(tmp_path, "other")
    connection = {
        "lines": pem,
        "one line": pem.replace("\n", "\\n"),
        "both": pem,
        "damaged": pem[:-40],
    }.get(form)
    variables = {}
    if connection:
        document = {"conn_type": "generic", "password": connection}
        variables["AIRFLOW_CONN_RECSYS_SIGNING"] = json.dumps(document)
    if form in ("file", "both"):
        file = keys.private if form == "file" else other.private
        variables["RECSYS_SIGNING_KEY_FILE"] = str(file)
    paths = [str(repository / "dags"), str(repository / "src")]
    done = subprocess.run(
        [sys.executable, "-c", _READ.format(paths=paths)],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "_AIRFLOW_PROCESS_CONTEXT": "server",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    expected = {"none": "None", "damaged": "refused:"}.get(form, keys.key.public.fingerprint)
    assert expected in done.stdout, done.stderr
    assert pem.splitlines()[1] not in done.stdout + done.stderr
