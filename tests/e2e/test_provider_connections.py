"""The provider's connection types: what the Test button does and says, on real servers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
from airflow.models import Connection
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from airflow_provider_recsys.hooks.recommender import (
    RecommenderHook,
    RecommenderStoreHook,
    RecommenderVectorsHook,
)
from recsys.contract import SITE_ROLE
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.services import Services
from tests.conftest import fresh_database
from tests.e2e.conftest import connections
from tests.e2e.release_world import (
    STORE,
    VECTORS,
    World,
    of_provider,
    prepared_world,
    release_world,
)
from tests.s3_accounts import Guarded, guarded_server


@pytest.fixture(scope="module")
def shared(airflow_db: None, postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    with release_world(postgres_server, s3_server) as made:
        yield made


@pytest.fixture
def world(shared: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The servers, as Connections of the provider's types name them."""
    for name, value in of_provider(shared.services).items():
        monkeypatch.setenv(name, value)
    return shared


@pytest.mark.parametrize("hook", [RecommenderStoreHook, RecommenderVectorsHook])
def test_connections_that_work(world: World, hook: Any, recwarn: pytest.WarningsRecorder) -> None:
    before = world.services.store.keys("")
    works, message = hook().test_connection()
    assert works, message
    assert "tried:" in message
    assert world.services.store.keys("") == before
    assert [w for w in recwarn if "connection type" in str(w.message)] == []


@pytest.mark.parametrize("hook", [RecommenderStoreHook, RecommenderVectorsHook])
def test_a_read_only_connection_writes_nothing(
    world: World, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in of_provider(world.services, read_only=True).items():
        monkeypatch.setenv(name, value)
    works, message = hook().test_connection()
    assert works, message
    assert "write" not in message
    assert "rolled back" not in message


@pytest.mark.parametrize("hook", [RecommenderStoreHook, RecommenderVectorsHook])
def test_a_wrong_password_is_named_and_not_shown(
    world: World, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in of_provider(world.services).items():
        monkeypatch.setenv(name, json.dumps({**json.loads(value), "password": "hush-hush"}))
    works, message = hook().test_connection()
    assert not works
    assert "what to do" in message
    assert "hush-hush" not in message


def refusal(hook: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: dict[str, Any]) -> str:
    """What the Test button says of a Connection that does not work."""
    monkeypatch.setenv(name, json.dumps(value))
    works, message = hook().test_connection()
    assert not works, message
    assert str(value["password"]) not in message
    return str(message)


def test_a_server_without_the_bucket_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = json.loads(of_provider(world.services)[STORE])
    store["extra"]["bucket_name"] = "no-such-bucket"
    message = refusal(RecommenderStoreHook, monkeypatch, STORE, store)
    assert "tried: read the connection, find the bucket;" in message
    assert "no-such-bucket" in message


def test_a_database_without_pgvector_is_named(
    world: World, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pg = json.loads(of_provider(world.services, read_only=True)[VECTORS])
    with psycopg.connect(postgres_dsn) as conn:
        pg["schema"] = conn.info.dbname
    message = refusal(RecommenderVectorsHook, monkeypatch, VECTORS, pg)
    assert "create extension vector" in message


@pytest.mark.parametrize(("text", "writes"), [("False", True), ("true", False), ("", True)])
def test_read_only_is_understood_in_a_uri_too(
    world: World, text: str, writes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = json.loads(of_provider(world.services)[STORE])
    login, password = (quote(store[name], safe="") for name in ("login", "password"))
    given = {name: value for name, value in store["extra"].items() if value} | {"read_only": text}
    monkeypatch.setenv(STORE, f"recsys-store://{login}:{password}@/?{urlencode(given)}")
    works, message = RecommenderStoreHook().test_connection()
    assert works, message
    assert ("write an object" in message) is writes


def test_airflows_own_types_serve_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in connections(world.services).items():
        monkeypatch.setenv(name, value)
    assert RecommenderStoreHook().test_connection()[0]
    assert RecommenderVectorsHook().test_connection()[0]


@pytest.mark.parametrize(
    ("hook", "name", "extra"),
    [
        (RecommenderStoreHook, STORE, {"bucket_name": 5, "aws_secret_access_key": "hush-hush"}),
        (RecommenderStoreHook, STORE, {"bucket_name": "movies", "verify": ["hush-hush"]}),
        (RecommenderStoreHook, STORE, {"bucket_name": "movies", "config_kwargs": "hush-hush"}),
        (RecommenderStoreHook, STORE, {"bucket_name": "movies", "endpoint_url": "no-url"}),
        (RecommenderStoreHook, STORE, {"bucket_name": "m", "endpoint_url": "http://u:hush-hush@h"}),
        (RecommenderStoreHook, STORE, {"bucket_name": "", "aws_session_token": "hush-hush"}),
        (RecommenderVectorsHook, VECTORS, {"sslmode": "no", "sslpassword": "hush-hush"}),
        (RecommenderVectorsHook, VECTORS, {"sslmode": {"a": 1}, "sslpassword": "hush-hush"}),
        (RecommenderVectorsHook, VECTORS, {"no_parameter": "hush-hush"}),
        (RecommenderVectorsHook, VECTORS, {"connect_timeout": ["hush-hush"]}),
    ],
)
def test_an_invalid_extra_is_a_message_without_its_secrets(
    world: World,
    hook: Any,
    name: str,
    extra: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fields = json.loads(of_provider(world.services)[name]) | {"extra": json.dumps(extra)}
    # As the Test button hands it over.
    monkeypatch.setenv(name, Connection(conn_id="tested", **fields).get_uri())
    works, message = hook().test_connection()
    assert not works
    assert "what to do: " in message
    assert "does not answer" not in message, "waiting does not help"
    printed = capfd.readouterr()
    assert "hush-hush" not in message + caplog.text + printed.out + printed.err


@pytest.fixture
def guarded(
    postgres_server: Postgres, repository: Path, tmp_path: Path
) -> Iterator[tuple[Guarded, World]]:
    """The same on a server whose accounts have the policies of docker/s3."""
    with guarded_server(repository, tmp_path) as server, fresh_database(postgres_server) as dsn:
        services = Services(
            postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=server.settings("pipeline")
        )
        yield server, prepared_world(services)


@pytest.fixture
def reader(guarded: tuple[Guarded, World]) -> Iterator[Services]:
    """The accounts of a team that may only read, as docs/security.md makes them for the site."""
    server, world = guarded
    name, password = f"reader_{secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    with world.services.connect() as conn:
        conn.execute(
            sql.SQL("create role {} login password {} in role {}").format(
                role, sql.Literal(password), sql.Identifier(SITE_ROLE)
            )
        )
        dsn = make_conninfo(world.services.postgres.dsn.get_secret_value(), user=name)
        yield Services(
            postgres=PostgresSettings(dsn=SecretStr(make_conninfo(dsn, password=password))),
            s3=server.settings("site"),
        )
        conn.execute(sql.SQL("drop role {}").format(role))


def test_what_an_account_may_do_decides(
    guarded: tuple[Guarded, World], reader: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, world = guarded
    for name, value in of_provider(reader, read_only=True).items():
        monkeypatch.setenv(name, value)
    for hook in (RecommenderStoreHook(), RecommenderVectorsHook()):
        works, message = hook.test_connection()
        assert works, message
    assert RecommenderVectorsHook().live_release() is not None
    assert len(RecommenderHook().recommend(1, count=3)) == 3

    # The trainer's account may list the bucket, and writes to its inbox only.
    trainer = Services(postgres=reader.postgres, s3=server.settings("trainer"))
    for account, step in ((trainer, "write an object; "), (reader, "find the bucket; ")):
        store = json.loads(of_provider(account)[STORE])
        assert step in refusal(RecommenderStoreHook, monkeypatch, STORE, store)
    pg = json.loads(of_provider(reader)[VECTORS])
    message = refusal(RecommenderVectorsHook, monkeypatch, VECTORS, pg)
    assert "create schema and extension, to be rolled back; " in message
    assert world.services.store.keys("checks/") == []
