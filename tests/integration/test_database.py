"""Connections to a real PostgreSQL: time limits, refusals, and a pooler in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from recsys import database
from recsys.database import PostgresSettings, long_statement
from recsys.errors import ConfigurationError, ServiceUnavailableError
from tests.pooler import pooler as pooler_before
from tests.silent_proxy import SilentProxy, silent_proxy


def settings(dsn: str, **changed: Any) -> PostgresSettings:
    return PostgresSettings.model_validate({"dsn": SecretStr(dsn), **changed})


def elsewhere(dsn: str, **changed: Any) -> str:
    return make_conninfo(dsn, **changed)


# --- time limits ---


@pytest.fixture
def proxy(postgres_dsn: str) -> Iterator[SilentProxy]:
    address = conninfo_to_dict(postgres_dsn)
    with silent_proxy(str(address["host"]), int(str(address["port"]))) as made:
        yield made


def test_a_server_that_falls_silent_ends_the_statement(postgres_dsn, proxy):
    through = elsewhere(postgres_dsn, host="127.0.0.1", port=proxy.port)
    begin = time.monotonic()
    with (
        pytest.raises(ServiceUnavailableError, match="no answer within"),
        database.connect(settings(through, statement_timeout=0.5)) as conn,
        proxy.silence(),
    ):
        conn.execute("select 1")
    assert time.monotonic() - begin < 30
    assert conn.closed


def test_a_server_that_is_silent_from_the_start_ends_the_attempt_to_connect(postgres_dsn, proxy):
    through = elsewhere(postgres_dsn, host="127.0.0.1", port=proxy.port)
    proxy.silent.set()
    with (
        pytest.raises(ServiceUnavailableError, match="timeout expired"),
        database.connect(settings(through, connect_timeout=2)),
    ):
        pytest.fail("it connected")


def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgres_dsn):
    with (
        pytest.raises(ServiceUnavailableError, match="statement timeout"),
        database.connect(settings(postgres_dsn, statement_timeout=0.2)) as conn,
    ):
        conn.execute("select pg_sleep(60)")


def test_a_long_statement_has_a_limit_of_its_own(postgres_dsn):
    with database.connect(settings(postgres_dsn, statement_timeout=0.2)) as conn:
        with long_statement(conn, 60), conn.transaction():
            conn.execute("select pg_sleep(0.5)")
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("select pg_sleep(60)")


def test_a_failed_long_statement_leaves_the_usual_limit(postgres_dsn):
    with database.connect(settings(postgres_dsn, statement_timeout=0.2)) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero):
            with conn.transaction(), long_statement(conn, 60):
                conn.execute("select 1 / 0")
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("select pg_sleep(60)")


# --- refusals ---


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody_knows", "password": "x"}, "nobody_knows"),
    ],
)
def test_a_refused_account_or_database_is_a_permanent_error(postgres_dsn, changed, found):
    with (
        pytest.raises(ConfigurationError, match="refuses the connection") as refused,
        database.connect(settings(elsewhere(postgres_dsn, **changed))),
    ):
        pytest.fail("it connected")
    assert found in str(refused.value)


def test_an_invalid_address_is_a_permanent_error_that_does_not_show_the_password():
    with (
        pytest.raises(ConfigurationError) as refused,
        database.connect(settings("postgresql://user:hidden@host:port/db?strange=1")),
    ):
        pytest.fail("it connected")
    assert "hidden" not in str(refused.value)


# --- poolers ---


@pytest.fixture
def pooler(postgres_dsn: str) -> Iterator[Callable[..., str]]:
    """Starts PgBouncer in a mode before the database; returns the address of the pool."""
    with ExitStack() as started:
        yield lambda mode, pool_size=5: started.enter_context(
            pooler_before(postgres_dsn, mode, pool_size)
        )


@pytest.mark.parametrize("pool_size", [1, 5])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_refused(pooler, mode, pool_size):
    with (
        pytest.raises(ConfigurationError, match="connection pooler") as refused,
        database.connect(settings(pooler(mode, pool_size))),
    ):
        pytest.fail("it connected")
    assert 'pool_mode "session"' in str(refused.value)


@pytest.mark.parametrize("pool_size", [1, 5])
def test_a_pooler_that_keeps_sessions_is_accepted(pooler, pool_size):
    accepted = settings(pooler("session", pool_size))
    with database.connect(accepted) as conn:
        assert conn.execute("select current_setting('TimeZone')").fetchone() == ("UTC",)


def test_a_refused_pooler_leaves_no_setting_in_the_sessions_of_others(pooler):
    through = pooler("transaction", 1)
    with (
        pytest.raises(ConfigurationError),
        database.connect(settings(through)),
    ):
        pytest.fail("it connected")
    with psycopg.connect(through, autocommit=True) as other:
        assert other.execute("select current_setting('recsys.session', true)").fetchone() == ("",)
        assert other.execute("select current_setting('lock_timeout')").fetchone() == ("0",)
