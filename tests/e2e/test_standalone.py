"""The weekly DAG under a real scheduler, what a person answers before a promotion, a task killed in
the middle of one, and the alerts of late and failed runs by the real DAG processor and triggerer.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest

from recsys import ledger, monitoring
from recsys.cli.output import embedded_services
from recsys.embedded import airflow, stack
from recsys.embedded.airflow_client import AirflowClient
from recsys.embedded.home import Home
from recsys.releases.lock import PROMOTION_LOCK
from recsys.services import Services
from tests.e2e.conftest import DEFAULTS, brief_settings
from tests.e2e.receivers import Webhook
from tests.http_session import HttpSession

DAG_ID = "movie_rec_sys"
EAGER = {
    # With nothing to do the scheduler looks again soon.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.4",
    # The files do not change; looking for new ones is most of what the DAG processor does.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
    # So a file that took too long once, on a loaded machine, would be missing until the end.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "900",
    "RECSYS_POLL_INTERVAL_S": "1",
    "RECSYS_BUILD_SETTINGS": brief_settings(),
}
"""What makes a stack wait less, and train a shorter time."""
RUN_ENDS_WITHIN_S = 600
"""A run that takes longer has stopped for good."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    with Webhook() as made:
        yield made


@pytest.fixture(scope="module")
def running(webhook) -> Iterator[tuple[Home, Services]]:
    """The stack as `recsys up` starts it."""
    with (
        tempfile.TemporaryDirectory(prefix="recsys-stack-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        home = Home(Path(folder))
        # Nothing is there yet, so that no run starts but those that the tests trigger.
        home.remember_source(str(home.folder("watched") / "dataset.zip"))
        for name in [n for n in os.environ if n.startswith(("AIRFLOW", "RECSYS_RETRY"))]:
            patched.delenv(name)
        patched.setenv("RECSYS_ALERT_WEBHOOK_URL", webhook.url)
        for name, value in EAGER.items():
            patched.setenv(name, value)
        # Every run that trains is late.
        patched.setenv("RECSYS_DEADLINE_HOURS", "0.002")
        try:
            stack.start(home)
            yield home, embedded_services(home)
        finally:
            stack.stop(home)


def wait(client: AirflowClient, run_id: str, dag_id: str = DAG_ID) -> str:
    end = time.monotonic() + RUN_ENDS_WITHIN_S
    while (state := client.run_state(dag_id, run_id)) in ("queued", "running"):
        assert time.monotonic() < end, describe(client, run_id, dag_id)
        time.sleep(1)
    return state


def describe(client: AirflowClient, run_id: str, dag_id: str) -> str:
    """States of all tasks, and the logs of those that have not ended."""
    tasks = client.task_instances(dag_id, run_id)
    logs = [
        client.task_log(dag_id, run_id, task.task_id, task.try_number)
        for task in tasks
        if task.state not in (None, "success", "skipped") and task.try_number
    ]
    return "\n".join([run_id, *map(str, tasks), *logs])


def task_states(client: AirflowClient, run_id: str) -> dict[str, str]:
    return {t.task_id: t.state for t in client.task_instances(DAG_ID, run_id)}


def wait_for_alert(webhook: Webhook, run_id: str, kind: str) -> None:
    while kind not in webhook.about(run_id):
        time.sleep(0.5)


def wait_until_asked(client: AirflowClient, run_id: str) -> None:
    while task_states(client, run_id).get("approve_release") != "awaiting_input":
        assert client.run_state(DAG_ID, run_id) in ("queued", "running")
        time.sleep(1)


def answer_until_done(client: AirflowClient, run_id: str, option: str, reason: str) -> str:
    """Answers whenever the question is open, and returns the state in which the run ended.

    If the answer arrives before the scheduler has seen that the process of the task ended, Airflow
    3.3.0 takes the task for killed, tries it again, and asks again.
    """
    end = time.monotonic() + RUN_ENDS_WITHIN_S
    answered: set[int] = set()
    while (state := client.run_state(DAG_ID, run_id)) in ("queued", "running"):
        assert time.monotonic() < end, describe(client, run_id, DAG_ID)
        for task in client.task_instances(DAG_ID, run_id):
            if task.state == "awaiting_input" and task.try_number not in answered:
                answer(client, run_id, option, reason)
                answered.add(task.try_number)
        time.sleep(1)
    return state


def answer(client: AirflowClient, run_id: str, option: str, reason: str) -> None:
    """What Airflow's page does when a person presses one of the buttons."""
    with HttpSession(client.url) as session:
        session.patch(
            f"/api/v2/dags/{DAG_ID}/dagRuns/{quote(run_id, safe='')}"
            "/taskInstances/approve_release/-1/hitlDetails",
            headers={"Authorization": f"Bearer {client.token()}"},
            json={"chosen_options": [option], "params_input": {"reason": reason}},
            timeout=60,
        ).raise_for_status()


def newest_change(services: Services, to: str) -> dict[str, Any]:
    with services.connect() as conn:
        return next(line for line in ledger.history(conn) if line["to_state"] == to)


def test_a_run_that_a_person_approves_promotes_and_a_late_run_sends_an_alert(
    running, webhook, small_dataset
):
    home, services = running
    with airflow.client(home) as client:
        client.wait_for_dag(DAG_ID)
        conf = {"source": str(small_dataset), **DEFAULTS, "require_approval": True}
        run_id = client.trigger(DAG_ID, conf)
        wait_until_asked(client, run_id)
        assert monitoring.read_status(services)["champion"] is None
        state = answer_until_done(client, run_id, "Approve", "the editors like it")
        assert state == "success", task_states(client, run_id)
        assert task_states(client, run_id)["reject_candidate"] == "skipped"
    assert monitoring.read_status(services)["champion"] is not None
    assert monitoring.problems(services) == []
    line = newest_change(services, "champion")
    assert (line["actor"], line["origin"]) == ("admin", f"run {run_id}")
    assert line["reason"].endswith("; approved by admin: the editors like it")
    wait_for_alert(webhook, run_id, "run_late")
    assert webhook.about(run_id).count("run_late") == 1


def test_a_dataset_that_appears_starts_a_run_which_knows_it(running, small_dataset):
    """The asset's watcher in the real triggerer: the same md5 in another place is nothing new."""
    home, services = running
    before = monitoring.read_status(services)["champion"]
    watched = Path(str(home.source()))
    for suffix in ("", ".md5"):
        shutil.copy(f"{small_dataset}{suffix}", f"{watched}{suffix}")
    with airflow.client(home) as client:
        while not (found := runs_of_the_asset(client)):
            time.sleep(0.5)
        assert wait(client, found[0]) == "success", task_states(client, found[0])
        assert task_states(client, found[0])["do_nothing"] == "success"
    assert monitoring.read_status(services)["champion"] == before


def runs_of_the_asset(client: AirflowClient) -> list[str]:
    with HttpSession(client.url) as session:
        response = session.get(
            f"/api/v2/dags/{DAG_ID}/dagRuns",
            params={"run_type": "asset_triggered"},
            headers={"Authorization": f"Bearer {client.token()}"},
            timeout=60,
        )
    response.raise_for_status()
    return [run["dag_run_id"] for run in response.json()["dag_runs"]]


def test_a_failed_run_sends_one_alert(running, webhook, tmp_path):
    home, _ = running
    with airflow.client(home) as client:
        run_id = client.trigger(DAG_ID, {"source": str(tmp_path / "no.zip"), **DEFAULTS})
        assert wait(client, run_id) == "failed", task_states(client, run_id)
        wait_for_alert(webhook, run_id, "run_failed")
        healed = client.trigger("movie_rec_sys_recover", {})
        wait(client, healed, "movie_rec_sys_recover")
    assert webhook.about(run_id).count("run_failed") == 1


def test_a_release_that_a_person_rejects_stays_out_of_production(running, changed_dataset):
    home, services = running
    before = monitoring.read_status(services)["champion"]
    with airflow.client(home) as client:
        conf = {"source": str(changed_dataset), **DEFAULTS, "require_approval": True}
        run_id = client.trigger(DAG_ID, conf)
        state = answer_until_done(client, run_id, "Reject", "too many westerns")
        assert state == "success", task_states(client, run_id)
        states = task_states(client, run_id)
    assert (states["promote_release"], states["reject_candidate"]) == ("skipped", "success")
    assert monitoring.read_status(services)["champion"] == before
    assert monitoring.problems(services) == []
    line = newest_change(services, "rejected")
    assert (line["actor"], line["origin"]) == ("admin", f"run {run_id}")
    assert line["reason"].endswith("; rejected by admin: too many westerns")


def test_a_task_killed_in_the_middle_of_a_promotion_heals_without_a_person(
    running, changed_dataset
):
    home, services = running
    before = monitoring.read_status(services)["champion"]["release_id"]
    dsn = services.postgres.dsn.get_secret_value()
    with airflow.client(home) as client, psycopg.connect(dsn) as holder:
        # Every change of the champion now waits: the journal is open, the model copied.
        holder.execute("select from recsys.releases where state = 'champion' for no key update")
        # Of the release that was rejected: it is judged again, but not trained again.
        conf = {"source": str(changed_dataset), **DEFAULTS, "force": True}
        run_id = client.trigger(DAG_ID, conf)
        killed = kill_promoter(services)
        holder.rollback()
        assert wait(client, run_id) == "success", task_states(client, run_id)
        tries = {t.task_id: t.try_number for t in client.task_instances(DAG_ID, run_id)}
    assert not psutil.pid_exists(killed)
    assert tries["promote_release"] >= 2
    after = monitoring.read_status(services)
    assert after["champion"]["release_id"] != before
    assert after["open_journal"] is None
    assert monitoring.problems(services) == []
    with services.connect() as conn:
        actions = [line["action"] for line in ledger.history(conn)]
    assert ledger.Action.PROMOTION_UNDONE in actions


def kill_promoter(services: Services) -> int:
    """Waits for an open journal, and kills the process whose session holds the promotion lock."""
    with services.connect() as conn:
        while True:
            found = conn.execute(
                "select a.client_port from pg_locks l join pg_stat_activity a using (pid) "
                "where l.locktype = 'advisory' and l.granted and l.objid = %s and l.objsubid = 1 "
                "and exists (select from recsys.journal where closed_at is null)",
                (PROMOTION_LOCK,),
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
