"""A prepared ledger, and complete releases made from nothing but contract and store."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from recsys import database, ledger, vectors
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.object_store import S3Settings
from recsys.services import Services
from tests.conftest import fresh_database
from tests.release_maker import Releases
from tests.web_server import Web, serving


@pytest.fixture(scope="session")
def prepared_template(postgres_server: Postgres) -> Iterator[str]:
    """Name of a database with the vector extension and a prepared, empty ledger."""
    with fresh_database(postgres_server) as dsn:
        with database.connect(PostgresSettings(dsn=SecretStr(dsn))) as connection:
            vectors.enable_vector_extension(connection)
            ledger.prepare(connection)
        yield dsn.rpartition("/")[2]


@pytest.fixture
def prepared_dsn(postgres_server: Postgres, prepared_template: str) -> Iterator[str]:
    """The URI of a database with the vector extension and a prepared ledger; dropped at the end."""
    with fresh_database(postgres_server, prepared_template) as dsn:
        with psycopg.connect(dsn) as connection:
            # Each ledger has an id of its own.
            connection.execute("update recsys.identity set ledger_id = gen_random_uuid()")
        yield dsn


@pytest.fixture
def services(prepared_dsn: str, s3_settings: S3Settings) -> Services:
    """A database with a prepared ledger, and an empty bucket."""
    return Services(postgres=PostgresSettings(dsn=SecretStr(prepared_dsn)), s3=s3_settings)


@pytest.fixture
def conn(prepared_dsn: str) -> Iterator[database.Connection]:
    """A connection to a database with a prepared ledger."""
    with database.connect(PostgresSettings(dsn=SecretStr(prepared_dsn))) as connection:
        yield connection


@pytest.fixture
def releases(services: Services) -> Releases:
    """A maker of releases."""
    return Releases(services)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server for datasets, reached without the proxies of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as site:
        yield site
