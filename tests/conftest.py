"""Real servers for the tests: one PostgreSQL and one S3 per session, a fresh corner per test."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from recsys.embedded import stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import REGION, S3
from recsys.object_store import ObjectStore, S3Settings


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def ml_latest_small(repository: Path) -> Path:
    """The zip of the real dataset, which lies beside the repository and is not part of it."""
    path = repository.parent / "shared" / "data" / "ml-latest-small.zip"
    if not path.exists():
        pytest.skip("the real dataset is not here: ../shared/data/ml-latest-small.zip")
    return path


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
    yield server
    with session_home.lock():
        server.stop()


@contextmanager
def fresh_database(server: Postgres) -> Iterator[str]:
    """The URI of an empty database, dropped at the end, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield server.dsn(name)
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_dsn(postgres_server: Postgres) -> Iterator[str]:
    """The URI of an empty database, dropped after the test."""
    with fresh_database(postgres_server) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def s3_server(session_home: Home) -> Iterator[S3]:
    """A running S3 server; tests should take `object_store` or `s3_settings`."""
    server = S3(session_home)
    with session_home.lock():
        server.start()
    yield server
    with session_home.lock():
        server.stop()


@contextmanager
def fresh_bucket(server: S3) -> Iterator[S3Settings]:
    """Settings that lead to an empty bucket, removed at the end."""
    client = server.client()
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
    store = ObjectStore.connect(settings)
    store.delete(store.keys(""))
    client.delete_bucket(Bucket=bucket)


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
