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
    assert json.loads(done.stdout)["channels"] == [{"name": "webhook", "error": None}]
    receiver.status = 500
    failed = CliRunner().invoke(app, ["alerts", "--test"])
    assert failed.exit_code == 1
    assert "HTTP 500" in failed.output
