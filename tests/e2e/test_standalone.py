"""The weekly DAG under a real scheduler, a task killed in the middle of a promotion, and who is
told of late and failed runs by the real DAG processor and triggerer.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from recsys import ledger_records, status
from recsys.commands.output import embedded_services
from recsys.embedded import airflow, stack
from recsys.embedded.airflow_client import AirflowClient
from recsys.embedded.home import Home
from recsys.services import Services
from tests.e2e.conftest import DEFAULTS
from tests.e2e.receivers import Webhook

DAG_ID = "movie_rec_sys"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as made:
        yield made


@pytest.fixture(scope="module")
def running(small_dataset, webhook) -> Iterator[tuple[Home, Services]]:
    """The stack as `recsys up` starts it."""
    with (
        tempfile.TemporaryDirectory(prefix="recsys-stack-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        home = Home(Path(folder))
        home.remember_source(str(small_dataset))
        for name in [n for n in os.environ if n.startswith(("AIRFLOW", "RECSYS_RETRY"))]:
            patched.delenv(name)
        patched.setenv("RECSYS_ALERT_WEBHOOK_URL", webhook.url)
        # Every run that trains is late.
        patched.setenv("RECSYS_DEADLINE_HOURS", "0.002")
        try:
            stack.start(home)
            yield home, embedded_services(home)
        finally:
            stack.stop(home)


def wait(client: AirflowClient, run_id: str) -> str:
    while (state := client.run_state(DAG_ID, run_id)) in ("queued", "running"):
        time.sleep(1)
    return state


def task_states(client: AirflowClient, run_id: str) -> dict[str, str]:
    return {t.task_id: t.state for t in client.task_instances(DAG_ID, run_id)}


def wait_until_told(webhook: Webhook, run_id: str, kind: str) -> None:
    while kind not in webhook.about(run_id):
        time.sleep(0.5)


def test_a_run_triggered_in_airflow_promotes_a_release_and_people_are_told_that_it_is_late(
    running, webhook, small_dataset
):
    home, services = running
    with airflow.client(home) as client:
        client.wait_for_dag(DAG_ID)
        # The watcher of the md5 starts a run of its own, which may have judged this build first, by
        # limits that a dataset as small as this does not meet.
        conf = {"source": str(small_dataset), **DEFAULTS, "force": True}
        run_id = client.trigger(DAG_ID, conf)
        assert wait(client, run_id) == "success", task_states(client, run_id)
    assert status.status(services)["champion"] is not None
    assert status.problems(services) == []
    wait_until_told(webhook, run_id, "run_late")
    assert webhook.about(run_id) == ["run_late"]


def test_people_are_told_once_of_a_run_that_failed(running, webhook, tmp_path):
    home, _ = running
    with airflow.client(home) as client:
        run_id = client.trigger(DAG_ID, {"source": str(tmp_path / "no.zip"), **DEFAULTS})
        assert wait(client, run_id) == "failed", task_states(client, run_id)
        wait_until_told(webhook, run_id, "run_failed")
        healed = client.trigger("movie_rec_sys_recover", {})
        while client.run_state("movie_rec_sys_recover", healed) in ("queued", "running"):
            time.sleep(1)
    assert webhook.about(run_id).count("run_failed") == 1


def test_a_task_killed_in_the_middle_of_a_promotion_heals_without_a_person(
    running, changed_dataset
):
    home, services = running
    before = status.status(services)["champion"]["release_id"]
    dsn = services.postgres.dsn.get_secret_value()
    with airflow.client(home) as client, psycopg.connect(dsn) as holder:
        # Whoever wants to move the champion now waits: its journal is open, its model copied.
        holder.execute("select from recsys.releases where state = 'champion' for no key update")
        run_id = client.trigger(DAG_ID, {"source": str(changed_dataset), **DEFAULTS})
        killed = kill_promoter(services)
        holder.rollback()
        assert wait(client, run_id) == "success", task_states(client, run_id)
        tries = {t.task_id: t.try_number for t in client.task_instances(DAG_ID, run_id)}
    assert not psutil.pid_exists(killed)
    assert tries["promote_release"] >= 2
    after = status.status(services)
    assert after["champion"]["release_id"] != before
    assert after["open_journal"] is None
    assert status.problems(services) == []
    with services.connect() as conn:
        actions = [line["action"] for line in ledger_records.history(conn)]
    assert "promotion undone" in actions


def kill_promoter(services: Services) -> int:
    """Waits for an open journal, and kills the process whose session holds the promotion lock."""
    with services.connect() as conn:
        while True:
            found = conn.execute(
                "select a.client_port from pg_locks l join pg_stat_activity a using (pid) "
                "where l.locktype = 'advisory' and l.granted and exists "
                "(select from recsys.journal where closed_at is null)"
            ).fetchone()
            if found:
                break
            time.sleep(0.1)
    [pid] = {
        c.pid
        for c in psutil.net_connections("tcp")
        if c.laddr.port == found[0] and c.pid is not None
    }
    os.kill(pid, signal.SIGKILL)
    return pid
