"""Channels: signatures, addresses that stay secret, and settings that are refused."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from recsys import alerts
from recsys.alerts import AlertSettings
from recsys.alerts.channels import SIGNATURE
from recsys.cli.app import app
from recsys.errors import ConfigurationError, ServiceUnavailableError
from tests.alert_receivers import reject, webhook


def test_a_webhook_can_verify_the_signature(services, releases, receiver):
    settings = webhook(receiver, webhook_key=SecretStr("k3y"))
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    alerts.send_alerts(services, settings)
    [(_, headers, body)] = receiver.got
    assert headers[SIGNATURE] == hmac.new(b"k3y", body, hashlib.sha256).hexdigest()


def test_addresses_do_not_appear_in_errors_logs_or_the_ledger(services, releases, receiver, caplog):
    receiver.status = 500
    settings = webhook(receiver, slack_url=SecretStr("http://127.0.0.1:1/services/tok3n"))
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    alerts.send_alerts(services, settings)
    with services.connect() as conn:
        stored = str(conn.execute("select * from recsys.alerts").fetchall())
    for text in (caplog.text, stored, repr(settings), str(alerts.send_test(settings))):
        assert "tok3n" not in text


def test_a_heartbeat_is_sent_if_a_url_is_configured(receiver):
    assert alerts.heartbeat(AlertSettings()) is False
    settings = AlertSettings(heartbeat_url=SecretStr(receiver.url))
    assert alerts.heartbeat(settings) is True
    assert [path for path, _, _ in receiver.got] == ["/hook/tok3n"]
    receiver.status = 503
    with pytest.raises(ServiceUnavailableError):
        alerts.heartbeat(settings)


def test_a_mail_server_without_recipients_is_refused():
    settings = AlertSettings(smtp_url=SecretStr("smtp://127.0.0.1"))
    with pytest.raises(ConfigurationError, match="no recipient"):
        alerts.send_test(settings)


def test_an_invalid_port_of_the_mail_server_does_not_affect_the_other_channels(
    services, releases, receiver
):
    settings = webhook(receiver, smtp_url=SecretStr("smtp://h:port"), email_to="a@example.org")
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    assert alerts.send_alerts(services, settings) == 1


def test_unknown_kinds_are_refused(monkeypatch):
    monkeypatch.setenv("RECSYS_ALERT_KINDS", "rejected,nonsense")
    with pytest.raises(ValidationError, match="kinds"):
        AlertSettings()


def test_the_command_tests_every_channel(receiver, monkeypatch):
    monkeypatch.setenv("RECSYS_ALERT_WEBHOOK_URL", receiver.url)
    done = CliRunner().invoke(app, ["alerts", "--test", "--json"])
    assert done.exit_code == 0, done.output
    [channel] = json.loads(done.stdout)["channels"]
    assert channel == {"name": "webhook", "connection": None, "error": None}
    receiver.status = 500
    failed = CliRunner().invoke(app, ["alerts", "--test"])
    assert failed.exit_code == 1
    assert "HTTP 500" in failed.output


def test_the_command_shows_the_route_of_a_description(receiver, monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_ALERT_WEBHOOK_URL", receiver.url)
    monkeypatch.setenv("RECSYS_ALERT_HEARTBEAT_URL", receiver.url)
    monkeypatch.setenv("RECSYS_ALERT_KINDS", "rejected")
    monkeypatch.setenv("RECSYS_RECOMMENDERS", str(tmp_path))
    of_all = CliRunner().invoke(app, ["alerts"])
    assert all(text in of_all.stdout for text in ("webhook", "heartbeat: set\n"))
    described = "name: books\ntitle: Books\nsource: s3://b/books.zip\n"
    (tmp_path / "books.yaml").write_text(described)
    monkeypatch.setenv("RECSYS_RECOMMENDER", "books")
    of_books = CliRunner().invoke(app, ["alerts"])
    assert "webhook    set\n" in of_books.stdout, "the channels of all are also this one's"
    assert "not set, unless Airflow has the Connection recsys_alert_heartbeat_books" in (
        of_books.stdout
    )
    route = "{slack: books_slack, smtp: mail, email_to: [b@example.org], kinds: [stale]}"
    (tmp_path / "books.yaml").write_text(f"{described}alerts: {route}\n")
    own = CliRunner().invoke(app, ["alerts"])
    assert own.exit_code == 0, own.output
    assert "slack      set, Connection books_slack" in own.stdout
    assert all(text in own.stdout for text in ("e-mail to: b@example.org", "sent: stale\n"))
    assert "webhook" not in own.stdout
    tested = CliRunner().invoke(app, ["alerts", "--test"])
    assert tested.exit_code == 1, "what was not tried is no success"
    assert "repeat in a container of Airflow" in tested.stdout
