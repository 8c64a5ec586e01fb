"""Delivery of alerts to real receivers: each event once, whatever is killed."""

from __future__ import annotations

import json
import multiprocessing
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from recsys import alerts
from recsys.alerts import AlertSettings, outbox
from recsys.ledger import Action
from recsys.services import Services
from tests.alert_receivers import reject, webhook


def test_a_failing_receiver_is_retried_and_does_not_affect_the_others(
    services, releases, receiver, mailbox
):
    box, smtp = mailbox
    settings = webhook(receiver, smtp_url=SecretStr(smtp), email_to="a@example.org")
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    receiver.status = 500
    assert alerts.send_alerts(services, settings) == 1
    assert len(box.messages) == 1
    receiver.status = 200
    assert alerts.send_alerts(services, settings) == 1
    assert len(box.messages) == 1
    assert [r[1]["Idempotency-Key"] for r in receiver.got] == [
        receiver.got[0][1]["Idempotency-Key"]
    ] * 2


def test_attempts_are_limited(services, releases, receiver, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_ATTEMPTS", 3)
    alerts.send_alerts(services, webhook(receiver))
    reject(services, releases.candidate(1))
    receiver.status = 400
    for _ in range(5):
        alerts.send_alerts(services, webhook(receiver))
    assert len(receiver.got) == 3


def test_retries_are_immediate_at_first_and_hourly_later(services, releases, receiver, monkeypatch):
    monkeypatch.setattr(outbox, "IMMEDIATE_ATTEMPTS", 2)
    alerts.send_alerts(services, webhook(receiver))
    reject(services, releases.candidate(1))
    receiver.status = 503
    for _ in range(4):
        alerts.send_alerts(services, webhook(receiver))
    assert len(receiver.got) == 2
    with services.connect() as conn:
        assert alerts.count_undelivered(conn) == {"webhook": 1}
        conn.execute("update recsys.alerts set claimed_at = claimed_at - interval '1 hour'")
    receiver.status = 200
    assert alerts.send_alerts(services, webhook(receiver)) == 1
    with services.connect() as conn:
        assert alerts.count_undelivered(conn) == {"webhook": 0}


def test_concurrent_senders_send_each_event_once(services, releases, receiver):
    alerts.send_alerts(services, webhook(receiver))
    for number in range(1, 6):
        reject(services, releases.candidate(number))
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda _: alerts.send_alerts(services, webhook(receiver)), range(4)))
    assert sum(sent) == 5
    assert len(receiver.got) == len({d["event"] for d in receiver.documents}) == 5


def test_another_sender_takes_over_when_the_claim_of_a_dead_one_has_expired(
    services, releases, receiver, monkeypatch
):
    alerts.send_alerts(services, webhook(receiver))
    reject(services, releases.candidate(1))

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr("recsys.alerts.channels.Webhook.send", die)
        with pytest.raises(Killed):
            alerts.send_alerts(services, webhook(receiver))
    assert alerts.send_alerts(services, webhook(receiver)) == 0, "the claim is fresh"
    monkeypatch.setattr(outbox, "CLAIM_S", 0)
    assert alerts.send_alerts(services, webhook(receiver)) == 1


def send_and_be_killed(services: Services, settings: AlertSettings, receiver: Any) -> None:
    """Sends alerts in a child process that is killed as soon as the receiver has one."""
    fresh = Services(postgres=services.postgres, s3=services.s3)  # an open client cannot be pickled
    sender = multiprocessing.get_context("spawn").Process(
        target=alerts.send_alerts, args=(fresh, settings)
    )
    receiver.when_received = sender.kill
    sender.start()
    sender.join(60)
    assert sender.exitcode == -signal.SIGKILL
    receiver.when_received = lambda: None


def age_claims(services: Services) -> None:
    with services.connect() as conn:
        conn.execute("update recsys.alerts set claimed_at = claimed_at - interval '1 day'")


def test_after_a_kill_a_webhook_gets_the_alert_again_with_the_same_key(
    services, releases, receiver
):
    settings = webhook(receiver)
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    send_and_be_killed(services, settings, receiver)
    age_claims(services)
    assert alerts.send_alerts(services, settings) == 1
    [(_, before, first), (_, after, second)] = receiver.got
    assert before["Idempotency-Key"] == after["Idempotency-Key"] == json.loads(first)["key"]
    assert first == second


def test_after_a_kill_a_mailbox_gets_the_alert_again_with_the_same_message_id(
    services, releases, mailbox
):
    box, smtp = mailbox
    settings = AlertSettings(smtp_url=SecretStr(smtp), email_to="a@example.org")
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    send_and_be_killed(services, settings, box)
    age_claims(services)
    assert alerts.send_alerts(services, settings) == 1
    [(_, before), (_, after)] = box.messages
    assert before["Message-ID"] == after["Message-ID"]


def test_events_with_equal_ids_in_two_ledgers_have_different_keys(
    services, releases, receiver, mailbox
):
    box, smtp = mailbox
    settings = webhook(receiver, smtp_url=SecretStr(smtp), email_to="a@example.org")
    alerts.send_alerts(services, settings)
    for moment in ("1 hour", "2 hours"):
        with services.connect() as conn:
            line = conn.execute(
                "insert into recsys.history (id, at, actor, reason, action) "
                "overriding system value "
                "values (10001, now() + %s::interval, 't', 't', %s) returning id",
                (moment, Action.RUN_FAILED),
            ).fetchone()
            assert line == (10001,)
        assert alerts.send_alerts(services, settings) == 2
        with services.connect() as conn:  # as if the database were created again
            conn.execute("alter table recsys.history disable trigger user")
            conn.execute("delete from recsys.history where id = 10001")
            conn.execute("alter table recsys.history enable trigger user")
            conn.execute("delete from recsys.alerts where event = 'history:10001'")
    one, other = receiver.documents
    assert one["event"] == other["event"]
    assert one["key"] != other["key"]
    assert len({mail["Message-ID"] for _, mail in box.messages}) == 2


def test_after_a_kill_slack_gets_no_second_message_and_the_alert_counts_as_undelivered(
    services, releases, receiver
):
    settings = AlertSettings(slack_url=SecretStr(receiver.url))
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    send_and_be_killed(services, settings, receiver)
    with services.connect() as conn:
        assert alerts.count_undelivered(conn) == {"slack": 1}
    age_claims(services)
    assert alerts.send_alerts(services, settings) == 0
    assert len(receiver.got) == 1
    reject(services, releases.candidate(2))
    assert alerts.send_alerts(services, settings) == 1, "the next event is sent"


def test_after_a_lost_response_slack_gets_no_second_message(services, releases, receiver):
    settings = webhook(receiver, slack_url=SecretStr(receiver.url))
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    receiver.status = None
    assert alerts.send_alerts(services, settings) == 0
    receiver.status = 200
    assert alerts.send_alerts(services, settings) == 1
    slack, *plain = receiver.documents
    assert "text" in slack
    assert [d["event"] for d in plain] == [plain[0]["event"]] * 2


def test_slack_is_retried_if_no_connection_was_made(services, releases, receiver):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unreachable = f"http://127.0.0.1:{free.getsockname()[1]}/hook"
    settings = AlertSettings(slack_url=SecretStr(unreachable))
    alerts.send_alerts(services, settings)
    reject(services, releases.candidate(1))
    assert alerts.send_alerts(services, settings) == 0
    assert alerts.send_alerts(services, AlertSettings(slack_url=SecretStr(receiver.url))) == 1
