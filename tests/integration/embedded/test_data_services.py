from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg
import pytest

from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import Service, is_alive
from recsys.embedded.s3 import BUCKET, S3
from recsys.errors import ConfigurationError
from recsys.object_store import ObjectStore, S3Settings
from tests.http_session import HttpSession
from tests.processes import command_lines, listening_addresses


@pytest.fixture(scope="module")
def running() -> Iterator[Home]:
    """A home whose data services run, shared by the tests that do not stop them."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        home = Home(Path(folder))
        with stack.data_services(home):
            yield home


def kill_all(service: Service) -> None:
    for process in service.members():
        process.kill()


def remember(home: Home, text: str) -> None:
    """Writes that both servers acknowledge."""
    with Postgres(home).connect() as connection:
        connection.execute("CREATE TABLE kept (words text)")
        connection.execute("INSERT INTO kept VALUES (%s)", (text,))
    S3(home).client().put_object(Bucket=BUCKET, Key="kept", Body=text.encode())


def recall(home: Home) -> tuple[str, str]:
    with Postgres(home).connect() as connection:
        row = connection.execute("SELECT words FROM kept").fetchone()
    assert row is not None
    body = S3(home).client().get_object(Bucket=BUCKET, Key="kept")["Body"].read()
    return row[0], body.decode()


def test_outside_clients_reach_the_servers_with_the_printed_environment(running: Home) -> None:
    variables = stack.environment(running)
    with psycopg.connect(variables["RECSYS_PG_DSN"]) as connection:
        connection.execute("CREATE EXTENSION vector")
        row = connection.execute("SELECT '[1,2]'::vector <-> '[1,2]'::vector").fetchone()
    assert row == (0.0,)
    client = boto3.client(
        "s3",
        endpoint_url=variables["RECSYS_S3_ENDPOINT"],
        region_name=variables["RECSYS_S3_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    assert client.list_objects_v2(Bucket=variables["RECSYS_S3_BUCKET"])["KeyCount"] == 0


def test_settings_are_made_from_the_printed_environment(
    running: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.environment(running).items():
        monkeypatch.setenv(name, value)
    store = ObjectStore.connect(S3Settings.from_environment())
    store.check()
    store.put_bytes("a", b"b")
    assert store.get_bytes("a") == b"b"
    store.delete(["a"])


def test_a_second_start_changes_nothing(running: Home) -> None:
    before = [service.leader() for service in (Postgres(running), S3(running))]
    with stack.data_services(running) as addresses:
        assert addresses == stack.start_data_services(running)
    assert [service.leader() for service in (Postgres(running), S3(running))] == before
    assert all(status.running for status in stack.status(running)[:2])


def test_nothing_listens_beyond_loopback(running: Home) -> None:
    for service, least in ((Postgres(running), 1), (S3(running), 5)):
        assert listening_addresses(service.members()) == {"127.0.0.1"}, least


def test_no_secret_is_on_a_command_line_or_in_a_log(running: Home) -> None:
    # The id of the access key is public, as on AWS; the key itself is not.
    secrets = set(vars(running.secrets()).values()) - {running.secrets().s3_access_key}
    for service in (Postgres(running), S3(running)):
        texts = [*command_lines(service.members()), service.log.read_text(errors="replace")]
        assert not any(secret in text for secret in secrets for text in texts)


def test_files_of_the_stack_are_private(running: Home) -> None:
    assert (running.path / "secrets.json").stat().st_mode & 0o777 == 0o600
    for name in ("postgres/data", "s3/data"):
        assert (running.path / name).stat().st_mode & 0o077 == 0
    assert (running.path / "s3/security.toml").stat().st_mode & 0o077 == 0


def test_a_wrong_postgres_password_is_refused(running: Home) -> None:
    dsn = Postgres(running).dsn().replace(running.secrets().postgres_password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn)


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_s3_credentials_are_refused(running: Home, wrong: str) -> None:
    secrets = running.secrets()
    keys = {"access_key": secrets.s3_access_key, "secret_key": secrets.s3_secret_key}
    settings = S3Settings.model_validate(
        {"bucket": BUCKET, "endpoint": S3(running).address(), **keys, wrong: "wrong"}
    )
    with pytest.raises(ConfigurationError):
        ObjectStore.connect(settings).put_bytes("a", b"b")


@pytest.mark.parametrize("part", ["s3", "filer", "volume"])
def test_no_port_serves_objects_without_credentials(running: Home, part: str) -> None:
    server = S3(running)
    server.client().put_object(Bucket=BUCKET, Key="private", Body=b"not for everyone")
    port = running.ports(server.port_names)[f"{part}.port"]
    path = "1,01637037d6" if part == "volume" else f"buckets/{BUCKET}/private"
    with HttpSession(f"http://127.0.0.1:{port}") as session:
        for one in (f"/{path}", f"/{BUCKET}/private"):
            response = session.get(one)
            assert response.status_code in {400, 401, 403, 404}
            assert b"not for everyone" not in response.content
    server.client().delete_object(Bucket=BUCKET, Key="private")


def test_what_was_acknowledged_survives_killing_both_servers_in_a_deep_path(
    home: Home,
) -> None:
    deep = Home(home.path / ("d" * 120) / "it's a «home» 100%")
    with stack.data_services(deep):
        remember(deep, "acknowledged")
        assert recall(deep) == ("acknowledged", "acknowledged")
        for service in (Postgres(deep), S3(deep)):
            leader = service.leader()
            assert leader is not None
            leader.kill()
            leader.wait()
        assert not any(status.running for status in stack.status(deep))
        stack.start_data_services(deep)
        assert recall(deep) == ("acknowledged", "acknowledged")
    # The second start was one that stays, and the home of this test is not the fixture's.
    assert all(status.running for status in stack.status(deep)[:2])
    stack.stop(deep)


def test_data_outlives_a_stop_that_leaves_no_process_and_a_move_to_other_ports(home: Home) -> None:
    before = stack.start_data_services(home)
    remember(home, "kept")
    services = (Postgres(home), S3(home))
    members = [process for service in services for process in service.members()]
    ports = home.ports(S3.port_names).values()
    stack.stop_data_services(home)
    stack.stop_data_services(home)
    assert not any(is_alive(process) for process in members)
    assert not any(list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock")) for port in ports)  # noqa: S108 - the server's choice
    assert [status.detail for status in stack.status(home)] == ["not started"] * 4

    taken = [int(address.rpartition(":")[2]) for address in (before.postgres, before.s3)]
    listeners = [socket.create_server(("127.0.0.1", port)) for port in taken]
    after = stack.start_data_services(home)
    for listener in listeners:
        listener.close()
    assert after.postgres != before.postgres
    assert after.s3 != before.s3
    assert recall(home) == ("kept", "kept")


def test_a_lock_file_whose_pid_belongs_to_a_stranger_does_not_hinder(home: Home) -> None:
    server = Postgres(home)
    server.start()
    lock = server.data / "postmaster.pid"
    lines = lock.read_text().splitlines()
    kill_all(server)
    # As after a reboot: the pid of the lock was given to a process of the same account.
    account = lock.stat()
    root = os.geteuid() == 0
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"] if not root else ["sleep", "600"],
        user=account.st_uid if root else None,
    ) as stranger:
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert server.start() is True
        assert stranger.poll() is None
        stranger.kill()


def test_a_first_start_that_was_killed_half_way_is_made_anew(home: Home) -> None:
    server = Postgres(home)
    (server.folder / "making-x" / "data").mkdir(parents=True)
    (server.folder / "making-x" / "data" / "PG_VERSION").write_text("18")
    assert server.start() is True
    assert not list(server.folder.glob("making-*"))


def test_two_stacks_do_not_disturb_each_other(home: Home) -> None:
    other = Home(home.path / "another stack")
    stack.start_data_services(home)
    with stack.data_services(other):
        remember(home, "one")
        remember(other, "other")
        stack.stop_data_services(home)
        assert recall(other) == ("other", "other")
        stack.start_data_services(home)
        assert recall(home) == ("one", "one")
        assert set(home.secrets().__dict__.values()).isdisjoint(vars(other.secrets()).values())


def test_an_exception_stops_what_the_block_started_and_nothing_else(home: Home) -> None:
    with home.lock():
        Postgres(home).start()
    with pytest.raises(KeyboardInterrupt), stack.data_services(home):
        raise KeyboardInterrupt
    assert Postgres(home).status().running
    assert S3(home).members() == []


def test_a_failing_server_takes_down_what_was_started_with_it(home: Home) -> None:
    S3(home).data.write_text("not a folder")
    with pytest.raises(OSError, match="File exists"):
        stack.start_data_services(home)
    assert Postgres(home).members() == []


def test_two_processes_that_start_at_once_share_one_stack(home: Home) -> None:
    program = (
        "import sys; from pathlib import Path; from recsys.embedded import stack;"
        "from recsys.embedded.home import Home;"
        "print(stack.start_data_services(Home(Path(sys.argv[1]))))"
    )
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(home.path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [start.communicate()[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(S3(home).members()) == 1


class User:
    """A process that uses the data services until the test ends it."""

    PROGRAM = (
        "import sys; from pathlib import Path; from recsys.embedded import stack;"
        "from recsys.embedded.home import Home;"
        "use = getattr(stack, sys.argv[2]);\n"
        "with use(Home(Path(sys.argv[1]))): print('in use', flush=True); sys.stdin.readline()"
    )

    def __init__(self, home: Home, use: str = "data_services") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(home.path), use],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> User:
        """Waits until it uses the services."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "in use\n"
        return self

    def end(self) -> None:
        self._process.communicate("end\n")
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def are_running(home: Home) -> list[bool]:
    return [status.running for status in stack.status(home)[:2]]


def test_the_last_of_several_users_stops_the_servers(home: Home) -> None:
    first = User(home).begin()
    second = User(home).begin()
    first.end()
    assert are_running(home) == [True, True], "the one that started them has ended"
    remember(home, "used")
    third = User(home, "object_store").begin()
    second.end()
    assert are_running(home) == [True, True]
    third.end()
    assert are_running(home) == [False, False]
    assert not any(service.members() for service in (Postgres(home), S3(home)))


def test_users_that_are_killed_do_not_count(home: Home) -> None:
    User(home).begin().kill()
    assert are_running(home) == [True, True]
    first, second = User(home).begin(), User(home).begin()
    first.kill()
    assert are_running(home) == [True, True]
    second.end()
    assert are_running(home) == [False, False], "also what a killed one had started"


def test_what_is_started_to_stay_outlives_the_commands(home: Home) -> None:
    user = User(home).begin()
    stack.start_data_services(home)
    user.end()
    User(home).begin().end()
    assert are_running(home) == [True, True]


def test_users_that_begin_and_end_at_once_do_not_disturb_each_other(home: Home) -> None:
    """A command that begins while another one ends finds running servers, or starts them."""
    users = [User(home) for _ in range(3)]
    for user in users:
        user.begin()
        assert are_running(home) == [True, True]
        user.end()
    assert are_running(home) == [False, False]
