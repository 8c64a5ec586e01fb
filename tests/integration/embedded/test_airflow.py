from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from recsys.embedded import airflow, stack
from recsys.embedded.airflow_client import AirflowClient
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import is_alive
from recsys.errors import ConfigurationError, PermanentError, ServiceUnavailableError
from tests.processes import command_lines, listening_addresses, read_each

_DAG = """
from airflow.sdk import Param, dag, task

@dag(schedule=None, params={"number": Param(1, type="integer")})
def probe():
    @task
    def answer(params=None):
        from airflow.sdk import BaseHook
        store = BaseHook.get_connection("recsys_s3")
        database = BaseHook.get_connection("recsys_pg_vector_backend")
        print("answer", params["number"] * 2, store.extra_dejson["bucket_name"], database.schema)
    answer()

probe()
"""


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """A folder with one small DAG."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "probe.py").write_text(_DAG)
    return folder


def test_the_environment_is_complete_and_stays_the_same(home: Home, dags: Path) -> None:
    variables = airflow.environment(home, dags)
    assert airflow.environment(home, dags) == variables
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == str(dags)
    assert variables["AIRFLOW_HOME"] == str(home.path / "airflow")
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    store = json.loads(variables["AIRFLOW_CONN_RECSYS_S3"])
    assert store["extra"] == {
        "endpoint_url": stack.environment(home)["RECSYS_S3_ENDPOINT"],
        "region_name": "us-east-1",
        "bucket_name": "recsys",
    }


def test_its_processes_get_what_a_command_adds_and_no_argument_shows_it(home: Home) -> None:
    added = {"AIRFLOW_CONN_RECSYS_SOURCE": "http://ann:s3cret@a.example/https"}
    command = airflow.Airflow(home, environment=added).command()
    assert added.items() <= command.environment.items()
    assert "s3cret" not in f"{command} {command.arguments}"


def test_the_passwords_file_is_private(home: Home) -> None:
    variables = airflow.environment(home)
    passwords = Path(variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    assert passwords.stat().st_mode & 0o077 == 0
    assert json.loads(passwords.read_text()) == {"admin": airflow.addresses(home).password}


def test_an_address_does_not_show_the_password(home: Home) -> None:
    assert home.secrets().airflow_admin_password not in repr(airflow.addresses(home))


def test_migrating_needs_the_database_and_says_so(home: Home) -> None:
    with pytest.raises(ServiceUnavailableError, match="metadata database does not answer"):
        airflow.migrate(home)


def test_a_client_without_a_server_says_how_to_start_it(home: Home) -> None:
    with airflow.client(home) as client, pytest.raises(ServiceUnavailableError, match="recsys up"):
        client.trigger("probe")


@pytest.fixture(scope="module")
def migrated() -> Iterator[Home]:
    """A home whose PostgreSQL runs and holds Airflow's metadata database."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        home = Home(Path(folder) / "home")
        with home.lock():
            Postgres(home).start()
        airflow.migrate(home)
        yield home
        stack.stop(home)


def test_migrating_again_keeps_the_mark(migrated: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with migrated.lock():
        Postgres(migrated).start()
    # What is current is not migrated again: even without commands on the PATH it is fast.
    monkeypatch.setattr(airflow, "run_migration", lambda home: pytest.fail("migrated again"))
    airflow.migrate(migrated)
    with psycopg.connect(Postgres(migrated).dsn("airflow")) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM dag").fetchone() is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_airflow_runs_a_dag_heals_after_a_kill_and_leaves_nothing_behind(
    migrated: Home, dags: Path
) -> None:
    home = migrated
    addresses, _ = stack.start(home, dags)
    assert [status.running for status in stack.status(home)] == [True, True, True, False]
    server = airflow.Airflow(home)

    with airflow.client(home) as client:
        client.wait_for_dag("probe")
        client.unpause("probe")
        run_id = client.trigger("probe", {"number": 21})
        deadline = time.monotonic() + 120
        while client.run_state("probe", run_id) not in {"success", "failed"}:
            assert time.monotonic() < deadline, client.task_instances("probe", run_id)
            time.sleep(0.5)
        (task,) = client.task_instances("probe", run_id)
        assert (task.task_id, task.state, task.try_number) == ("answer", "success", 1)
        assert "answer 42 recsys recsys" in client.task_log("probe", run_id, "answer", 1)
        with pytest.raises(PermanentError, match="refused POST"):
            client.trigger("probe", {"number": "not a number"})

        (dags / "broken.py").write_text("import airflow\nraise RuntimeError('dag, on purpose')")
        with pytest.raises(ConfigurationError, match="on purpose"):
            client.wait_for_dag("absent")

    with AirflowClient(server.address(), "admin", "wrong") as stranger:
        with pytest.raises(PermanentError, match="401"):
            stranger.trigger("probe")

    members = server.members()
    assert listening_addresses(members) == {"127.0.0.1"}
    secrets = set(vars(home.secrets()).values())
    assert not any(secret in line for secret in secrets for line in command_lines(members))
    log = server.log.read_text(errors="replace")
    assert not any(secret in log for secret in secrets)

    with Postgres(home).connect("airflow") as connection:
        runs = connection.execute("SELECT run_id FROM dag_run").fetchall()
    assert runs == [(run_id,)]

    commands = read_each(members, lambda process: (process, process.cmdline()[3:4]))
    (scheduler,) = (process for process, command in commands if command == ["scheduler"])
    scheduler.kill()
    leader = server.leader()
    assert leader is not None
    psutil.wait_procs([leader], timeout=60)
    assert not airflow.status(home).running
    airflow.start(home, dags)
    assert airflow.status(home).running
    assert stack.start_data_services(home) == addresses

    members = [*server.members(), *members]
    stack.stop(home)
    assert not any(is_alive(process) for process in members)
    assert not any(status.running for status in stack.status(home))
