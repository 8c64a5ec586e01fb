"""Delivery of alerts to real receivers: each event once, and no secret in a log."""

from __future__ import annotations

import hashlib
import hmac
import json
import multiprocessing
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from recsys import alerts, ledger, pipeline
from recsys.alerts import AlertSettings, outbox
from recsys.alerts.channels import SIGNATURE
from recsys.alerts.settings import AlertKind
from recsys.cli.app import app
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError, ServiceUnavailableError
from recsys.ledger import Action, State
from recsys.pipeline import Run
from recsys.releases import promote_release, recover_promotion, roll_back
from recsys.services import Services
from tests.actors import an_actor


class Receiver:
    """An HTTP server that stores requests; responds with ``status``, or closes if it is None."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status: int | None = 200
        self.when_received: Callable[[], None] = lambda: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.got.append((self.path, dict(self.headers), body))
                outer.when_received()
                if outer.status is None:
                    return
                self.send_response(outer.status)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/tok3n"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.got]


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.when_received: Callable[[], None] = lambda: None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        self.when_received()
        return "250 OK"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, str]]:
    box = Mailbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, f"smtp://127.0.0.1:{port}"
    controller.stop()


def webhook(receiver: Receiver, **settings: Any) -> AlertSettings:
    return AlertSettings(webhook_url=SecretStr(receiver.url), **settings)


def note_failure(services: Services, settings: AlertSettings) -> None:
    alerts.note_run(
        services,
        settings,
        Action.RUN_FAILED,
        run_id="manual__1",
        dag_id="movie_rec_sys",
        reason="task failed",
    )


def reject(services: Services, release_id: str, reason: str = "too bad") -> None:
    with services.connect() as conn:
        ledger.move(conn, release_id, State.REJECTED, actor=an_actor("gate", reason))


def test_no_alert_is_sent_without_a_channel(services):
    assert alerts.send_alerts(services, AlertSettings()) == 0


def test_each_event_is_sent_once_on_every_channel(services, releases, receiver, mailbox):
    box, smtp = mailbox
    settings = AlertSettings(
        slack_url=SecretStr(receiver.url),
        webhook_url=SecretStr(receiver.url),
        smtp_url=SecretStr(smtp),
        email_to="a@example.org, b@example.org",
        link="http://airflow.example",
    )
    assert alerts.send_alerts(services, settings) == 0
    bad = releases.candidate(1)
    reject(services, bad, reason="RMSE is <b>9.9</b>")
    assert alerts.send_alerts(services, settings) == 3
    assert alerts.send_alerts(services, settings) == 0
    slack, plain = receiver.documents
    assert "&lt;b&gt;9.9" in slack["text"]
    assert bad in slack["text"]
    assert plain["kind"] == "rejected"
    assert plain["facts"]["reason"] == "RMSE is <b>9.9</b>"
    assert plain["link"] == "http://airflow.example"
    [(to, mail)] = box.messages
    assert to == ["a@example.org", "b@example.org"]
    assert bad in mail["Subject"]
    assert "9.9" in mail.get_payload(decode=True).decode()
    assert parsedate_to_datetime(mail["Date"]).tzinfo is not None
    assert mail["Auto-Submitted"] == "auto-generated"


def test_a_new_channel_gets_no_earlier_events(services, releases, receiver):
    reject(services, releases.candidate(1))
    assert alerts.send_alerts(services, webhook(receiver)) == 0
    assert receiver.got == []


def test_promotions_are_sent_only_if_configured(services, releases, receiver):
    loud = webhook(receiver, kinds=frozenset({AlertKind.PROMOTED}))
    alerts.send_alerts(services, loud)
    promote_release(services, releases.candidate(1), actor=an_actor())
    assert alerts.send_alerts(services, webhook(receiver)) == 0
    assert alerts.send_alerts(services, loud) == 1
    assert receiver.documents[0]["kind"] == "promoted"


def test_a_rollback_is_sent_with_actor_origin_and_reason(services, releases, receiver):
    alerts.send_alerts(services, webhook(receiver))
    for number in (1, 2):
        promote_release(services, releases.candidate(number), actor=an_actor())
    roll_back(services, actor=an_actor("mary", "complaints"))
    alerts.send_alerts(services, webhook(receiver))
    [alert] = receiver.documents
    assert alert["kind"] == "rolled_back"
    assert alert["facts"]["by"] == "mary"
    assert alert["facts"]["from"] == "tests"
    assert alert["facts"]["reason"] == "complaints"


def test_a_recovery_is_sent(services, releases, receiver):
    alerts.send_alerts(services, webhook(receiver))
    release_id = releases.candidate(1)
    with services.connect() as conn:
        conn.execute(
            "insert into recsys.journal (kind, to_release, actor, reason) "
            "values ('promotion', %s, 't', 't')",
            (release_id,),
        )
    recover_promotion(services, actor=an_actor("recover"))
    alerts.send_alerts(services, webhook(receiver))
    assert [d["kind"] for d in receiver.documents] == ["recovered"]


def test_a_failed_run_is_sent_once_if_it_is_recorded_repeatedly(services, receiver):
    alerts.send_alerts(services, webhook(receiver))
    for _ in range(3):
        note_failure(services, webhook(receiver))
        alerts.send_alerts(services, webhook(receiver))
    [alert] = receiver.documents
    assert alert["kind"] == "run_failed"
    assert alert["facts"]["run"] == "manual__1"


def test_a_run_that_was_cleared_and_failed_again_is_sent_again(services, receiver):
    for attempt in ("first", "first", "second"):
        alerts.note_run(
            services,
            webhook(receiver),
            Action.RUN_FAILED,
            run_id="manual__1",
            dag_id="movie_rec_sys_rollback",
            reason=f"the {attempt} attempt failed",
            once=f"manual__1/{attempt}",
        )
        alerts.send_alerts(services, webhook(receiver))
    assert [d["facts"]["reason"] for d in receiver.documents] == [
        "the first attempt failed",
        "the second attempt failed",
    ]
    assert {d["facts"]["DAG"] for d in receiver.documents} == {"movie_rec_sys_rollback"}


def test_the_failure_of_the_very_first_run_is_sent_on_channels_never_used_before(
    postgres_dsn, s3_settings, receiver
):
    empty = Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)
    note_failure(empty, webhook(receiver))
    assert alerts.send_alerts(empty, webhook(receiver)) == 1
    assert receiver.documents[0]["kind"] == "run_failed"


def test_a_forced_run_that_rejects_the_champion_is_sent(services, releases, receiver):
    alerts.send_alerts(services, webhook(receiver))
    release_id = releases.candidate(1)
    promote_release(services, release_id, actor=an_actor())
    run = Run(run_id="r", source="s", build=releases.build(1))
    releases.judge(release_id, "r")
    pipeline.reject_candidate(services, run, actor=an_actor("t", "worse now"))
    assert alerts.send_alerts(services, webhook(receiver)) == 1
    assert receiver.documents[0]["kind"] == "rejected"


def test_staleness_is_sent_once_for_each_last_success(services, releases, receiver):
    long = timedelta(days=15)
    releases.candidate(1)  # a decision, so the last success is now
    assert alerts.send_alerts(services, webhook(receiver), long) == 0
    assert alerts.send_alerts(services, webhook(receiver), timedelta(0)) == 1
    assert alerts.send_alerts(services, webhook(receiver), timedelta(0)) == 0
    assert receiver.documents[0]["kind"] == "stale"


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
