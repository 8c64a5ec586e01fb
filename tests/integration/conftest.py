"""A prepared ledger, and complete releases made from nothing but contract and store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from recsys import database, ledger
from recsys.database import PostgresSettings
from recsys.object_store import S3Settings
from recsys.services import Services
from tests.release_maker import Releases
from tests.web_server import Web, serving


@pytest.fixture
def services(postgres_dsn: str, s3_settings: S3Settings) -> Services:
    """Fresh database and bucket."""
    return Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)


@pytest.fixture
def conn(postgres_dsn: str) -> Iterator[database.Connection]:
    """A connection to a fresh, prepared ledger."""
    with database.connect(PostgresSettings(dsn=SecretStr(postgres_dsn))) as connection:
        ledger.prepare(connection)
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
