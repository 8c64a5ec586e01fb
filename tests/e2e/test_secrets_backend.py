"""Connections, Variables and alerts from a secrets backend of Airflow, as from Vault or AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.receivers import Webhook

ROOT = Path(__file__).resolve().parents[2]
IMAGE = f"trainer@sha256:{'a' * 64}"
READ = """
import json
from recsys import alerts
from recsys_dag import descriptions, settings
movies = descriptions.named("movie_rec_sys")
ELSEWHERE = {"slack_url": None, "smtp_url": None}
services, routing = settings.services(movies), settings.alerts_of(movies)
secret = lambda value: value and value.get_secret_value()
print(json.dumps({
    "dsn": secret(services.postgres.dsn),
    "s3": [services.s3.bucket, services.s3.endpoint, services.s3.credentials()],
    "image": settings.trainer_image(movies),
    "slack": secret(routing.slack_url),
    "webhook": [secret(routing.webhook_url), secret(routing.webhook_key)],
    "smtp": secret(routing.smtp_url),
    "email": [routing.email_from, *routing.email_to],
    "heartbeat": secret(routing.heartbeat_url),
    "channels": [channel.name for channel in alerts.configured_channels(routing)],
    "shown": repr(routing),
    "beat": alerts.heartbeat(routing),
    "tested": [error for _, error in alerts.send_test(routing.model_copy(update=ELSEWHERE))],
}))
"""


def read(
    folder: Path,
    connections: dict[str, Any],
    variables: dict[str, str],
    command: Sequence[str] = (),
    **environment: str,
) -> dict[str, Any]:
    """What the tasks read, in a process whose only source of secrets is Airflow's file backend."""
    files = {"connections_file_path": connections, "variables_file_path": variables}
    paths = {}
    for name, content in files.items():
        paths[name] = str(folder / f"{name}.json")
        Path(paths[name]).write_text(json.dumps(content))
    done = subprocess.run(
        command or [sys.executable, "-c", READ],
        capture_output=True,
        text=True,
        check=False,
        env={
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT / "dags"),
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(paths),
            "AWS_EC2_METADATA_DISABLED": "true",
            "RECSYS_TRAINER_LAUNCHER": "docker",
            **environment,
        },
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout if command else done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def servers() -> dict[str, Any]:
    """The Connections of the servers, which every task needs."""
    return {
        "recsys_pg_vector_backend": "postgresql://u:p%40ss@db.example.org/recsys?sslmode=require",
        "recsys_s3": {
            "conn_type": "aws",
            "login": "AKID",
            "password": "hush-s3",
            "extra": {"bucket_name": "releases", "endpoint_url": "https://s3.example.org"},
        },
    }


def test_connections_variables_and_alerts_come_from_the_backend(
    servers: dict[str, Any], tmp_path: Path
) -> None:
    with Webhook() as receiver:
        alerting = {
            "recsys_alert_slack": {"conn_type": "slackwebhook", "password": "T0/B0/hush"},
            "recsys_alert_webhook": {
                "conn_type": "http",
                "host": receiver.url,
                "password": "hush-key",
            },
            "recsys_alert_smtp": {
                "conn_type": "smtp",
                "host": "mail.example.org",
                "login": "us@er",
                "password": "hu:sh",
                "port": 587,
                "extra": {
                    "disable_ssl": True,
                    "from_email": "recsys@example.org",
                    "email_to": "ann@example.org, bob@example.org",
                },
            },
            "recsys_alert_heartbeat": {"conn_type": "http", "host": receiver.url},
        }
        found = read(
            tmp_path,
            servers | alerting,
            {"recsys_trainer_image": IMAGE},
            # The environment is the fallback, and so not used.
            RECSYS_ALERT_SLACK_URL="https://of.the.environment",
            RECSYS_ALERT_EMAIL_TO="nobody@example.org",
        )
        assert found["tested"] == [""]
        assert found["beat"] is True
        assert [d["title"] for d in receiver.documents] == [
            "This is a test alert; nothing is wrong"
        ]
        assert receiver.pings == 1
    assert "sslmode=require" in found["dsn"]
    assert found["s3"][:2] == ["releases", "https://s3.example.org"]
    assert found["s3"][2] == {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "hush-s3"}
    assert found["image"] == IMAGE
    assert found["slack"] == "https://hooks.slack.com/services/T0/B0/hush"
    assert found["webhook"] == [receiver.url, "hush-key"]
    assert found["smtp"] == "smtp://us%40er:hu%3Ash@mail.example.org:587"
    assert found["email"] == ["recsys@example.org", "ann@example.org", "bob@example.org"]
    assert found["channels"] == ["slack", "webhook", "email"]
    assert "hush" not in found["shown"]


def test_without_connections_of_alerts_the_environment_is_used(
    servers: dict[str, Any], tmp_path: Path
) -> None:
    found = read(
        tmp_path,
        {**servers, "recsys_alert_smtp": "smtp://mail.example.org"},
        {},
        RECSYS_ALERT_SLACK_URL="http://127.0.0.1:9/of-the-environment",
        RECSYS_ALERT_EMAIL_TO="ann@example.org",
    )
    assert found["slack"] == "http://127.0.0.1:9/of-the-environment"
    assert found["smtp"] == "smtps://mail.example.org:465"
    assert found["email"] == ["recsys@localhost", "ann@example.org"]
    assert found["webhook"] == [None, None]
    assert found["image"] == ""


def test_a_connection_without_an_address_is_named(servers: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="recsys_alert_webhook has no address"):
        read(tmp_path, {**servers, "recsys_alert_webhook": {"conn_type": "http"}}, {})


def test_the_command_tests_the_connections_that_a_description_names(
    servers: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "recommenders"
    folder.mkdir()
    (folder / "books.yaml").write_text(
        "name: books\ntitle: Books\nsource: s3://b/books.zip\nalerts: {webhook: books_hook}\n"
    )
    recsys = Path(sys.executable).with_name("recsys")
    with Webhook() as receiver:
        own = {"conn_type": "http", "host": receiver.url}
        found = read(
            tmp_path,
            servers | {"books_hook": own, "recsys_alert_heartbeat_books": own},
            {},
            (str(recsys), "-r", "books", "alerts", "--test", "--json"),
            RECSYS_SERVICES="recsys_dag.connections:services_of_command_line",
            RECSYS_RECOMMENDERS=str(folder),
            RECSYS_ALERT_SLACK_URL="https://of.all.recommenders",
        )
        assert [each["title"] for each in receiver.documents] == [
            "Books: This is a test alert; nothing is wrong"
        ]
    assert found["channels"] == [{"name": "webhook", "connection": "books_hook", "error": None}]
    assert found["heartbeat"] is True
