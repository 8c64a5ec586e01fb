"""Which events are sent, on which channels, and what is said of them."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime

from pydantic import SecretStr

from recsys import alerts, pipeline
from recsys.alerts import AlertSettings
from recsys.alerts.settings import AlertKind
from recsys.database import PostgresSettings
from recsys.ledger import Action
from recsys.pipeline import Run
from recsys.releases import promote_release, recover_promotion, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.alert_receivers import note_failure, reject, webhook


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
