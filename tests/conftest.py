"""Real servers for the tests: one PostgreSQL and one S3 per session, a fresh corner per test."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from pydantic import SecretStr

from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import USER, Postgres
from recsys.embedded.processes import Command
from recsys.embedded.s3 import REGION, S3
from recsys.object_store import ObjectStore, S3Settings
from tests import watchdog
from tests.real_dataset import real_dataset

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

# Before any conftest or test makes a temporary folder.
watchdog.start()

# Before numpy is imported. Waiting threads of OpenBLAS spin: with a thread for each core, and other
# test processes beside this one, linear algebra takes twice the CPU time and is not faster.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No example fails for its time alone, however loaded the machine is.
hypothesis_settings.register_profile("recsys", deadline=None)
# For `make check`: fewer examples than `make test` tries.
hypothesis_settings.register_profile("check", deadline=None, max_examples=20)
hypothesis_settings.load_profile("recsys")

LONGEST = (
    "tests/e2e/test_ten_recommenders.py",
    "tests/e2e/test_standalone.py",
    "tests/e2e/test_movie_rec_sys.py",
    "tests/e2e/test_demo.py",
    "tests/chaos/test_faults.py",
    "tests/e2e/test_kubernetes_standalone.py",
    "tests/chaos/test_damaged_worlds.py",
    "tests/chaos/test_stalled_worlds.py",
    "tests/e2e/test_features_on_spark.py",
    "tests/e2e/test_observability.py",
    "tests/integration/embedded/test_airflow.py",
    "tests/browser/test_releases_in_airflow.py",
    "tests/chaos/test_crashes.py",
    "tests/integration/cli/",
    "tests/spark/",
    "tests/integration/benchmark/",
    "tests/e2e/",
    "tests/chaos/",
    "tests/browser/",
    "tests/integration/experiments/",
    "tests/integration/embedded/",
)
"""Files and folders with the longest tests, longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the longest files first, so that all processes end at about the same time.

    pytest-xdist keeps this order with ``--no-loadscope-reorder``. By default it runs the files
    with the fewest tests last, and those are the longest ones here.
    """

    def position(item: pytest.Item) -> int:
        path = item.nodeid.partition("::")[0]
        return next((i for i, name in enumerate(LONGEST) if path.startswith(name)), len(LONGEST))

    items.sort(key=position)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def ml_latest_small(repository: Path) -> Path:
    """The zip of the real dataset, which is not in the repository."""
    return real_dataset(repository)


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home for servers of the test's own; what it left running is stopped."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        home = Home(Path(folder) / "home")
        yield home
        stack.stop(home)


@pytest.fixture(scope="session")
def session_home() -> Iterator[Home]:
    """The home of this session's servers."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        yield Home(Path(folder))


@pytest.fixture(scope="session")
def postgres_server(session_home: Home) -> Iterator[Postgres]:
    """A running PostgreSQL; tests should take `postgres_dsn`."""
    server = Postgres(session_home)
    with session_home.lock():
        server.start()
    with server.connect("postgres", autocommit=True) as connection:
        # Its data need not survive a crash of the machine.
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
        connection.execute("SELECT pg_reload_conf()")
        _make_logins_cheap(connection, server)
    yield server
    with session_home.lock():
        server.stop()


def _make_logins_cheap(connection: psycopg.Connection[Any], server: Postgres) -> None:
    """Stores the password again, with one round of hashing instead of 4096.

    A client computes the rounds at each login, which takes longer than all else of connecting. Go's
    driver refuses so few: its programs need a role of their own.
    """
    connection.execute("ALTER SYSTEM SET scram_iterations = 1")
    connection.execute("SET scram_iterations = 1")
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(
            sql.Identifier(USER), sql.Literal(server.home.secrets().postgres_password)
        )
    )
    connection.execute("SELECT pg_reload_conf()")


@contextmanager
def fresh_database(server: Postgres, template: str = "template1") -> Iterator[str]:
    """The URI of a copy of a template, by default an empty database.

    It is dropped at the end, even if connections are open.
    """
    name = f"test_{uuid.uuid4().hex}"
    # By default the copy would be written to the write-ahead log, page by page.
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        # A copy lacks the settings of the database, such as its search_path.
        connection.execute(
            "INSERT INTO pg_db_role_setting SELECT copy.oid, setrole, setconfig"
            " FROM pg_db_role_setting JOIN pg_database AS original ON original.oid = setdatabase"
            " JOIN pg_database AS copy ON copy.datname = %s WHERE original.datname = %s",
            (name, template),
        )
    yield server.dsn(name)
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_dsn(postgres_server: Postgres) -> Iterator[str]:
    """The URI of an empty database, dropped after the test."""
    with fresh_database(postgres_server) as dsn:
        yield dsn


class _SeldomCollecting(S3):
    """Collects its garbage when it has nine times the memory that is in use, not twice.

    For small objects, collecting is a fifth of what the server does. Its limit of memory stays.
    """

    def command(self) -> Command:
        command = super().command()
        return replace(command, environment={**command.environment, "GOGC": "800"})


@pytest.fixture(scope="session")
def s3_server(session_home: Home) -> Iterator[S3]:
    """A running S3 server; tests should take `object_store` or `s3_settings`."""
    server = _SeldomCollecting(session_home)
    with session_home.lock():
        server.start()
    yield server
    with session_home.lock():
        server.stop()


@contextmanager
def fresh_bucket(server: S3) -> Iterator[S3Settings]:
    """Settings that lead to an empty bucket, removed at the end."""
    client = _client(server)
    bucket = f"test-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    secrets = server.home.secrets()
    settings = S3Settings(
        bucket=bucket,
        endpoint=server.address(),
        region=REGION,
        access_key=SecretStr(secrets.s3_access_key),
        secret_key=SecretStr(secrets.s3_secret_key),
    )
    yield settings
    while found := client.list_objects_v2(Bucket=bucket).get("Contents"):
        named: list[ObjectIdentifierTypeDef] = [{"Key": each["Key"]} for each in found]
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})
        assert "Errors" not in answer, answer["Errors"]
    client.delete_bucket(Bucket=bucket)


_clients: dict[tuple[str, str], S3Client] = {}


def _client(server: S3) -> S3Client:
    """Returns the one client of a server: making one takes longer than ten requests."""
    server_id = server.address(), server.home.secrets().s3_access_key
    if server_id not in _clients:
        _clients[server_id] = server.client()
    return _clients[server_id]


@pytest.fixture
def s3_settings(s3_server: S3) -> Iterator[S3Settings]:
    """Settings that lead to an empty bucket, removed after the test."""
    with fresh_bucket(s3_server) as settings:
        yield settings


@pytest.fixture
def object_store(s3_settings: S3Settings) -> ObjectStore:
    """The store of an empty bucket."""
    return ObjectStore.connect(s3_settings)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests measured: each ``record_property("figure", line)``, under xdist too."""
    lines = [
        (report.nodeid, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, value in report.user_properties
        if name == "figure"
    ]
    if lines:
        terminalreporter.section("figures")
        for _, line in sorted(lines):
            terminalreporter.write_line(str(line))
