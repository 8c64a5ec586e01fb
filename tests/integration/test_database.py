"""Connections to a real PostgreSQL: time limits, refusals, and a pooler in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from recsys import database
from recsys.database import PostgresSettings, long_statement
from recsys.errors import (
    ConfigurationError,
    LockedError,
    ServiceUnavailableError,
    TransientError,
)
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


# --- settings of an administrator ---


SETTINGS = {
    "statement_timeout": "200ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "100ms",
    "idle_session_timeout": "100ms",
    "transaction_timeout": "200ms",
    "default_transaction_isolation": "serializable",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-3",
    "client_encoding": "LATIN1",
    "client_min_messages": "error",
    "search_path": "nowhere",
    "row_security": "off",
    "bytea_output": "escape",
}


def set_for_database(dsn: str, values: dict[str, str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        for name, value in values.items():
            admin.execute(
                sql.SQL("alter database {} set {} = {}").format(
                    sql.Identifier(admin.info.dbname), sql.Identifier(name), sql.Literal(value)
                )
            )


def test_settings_of_an_administrator_do_not_reach_our_sessions(postgres_dsn):
    set_for_database(postgres_dsn, SETTINGS)
    with database.connect(settings(postgres_dsn)) as conn:
        with conn.transaction():
            conn.execute("select pg_sleep(0.3)")
            time.sleep(0.2)
            assert conn.execute("select 1").fetchone() == (1,)
        time.sleep(0.2)
        moment, digits, title, content = conn.execute(
            "select timestamptz '2026-11-27 10:00+00', 0.1::float8 + 0.2::float8, %s, %s::bytea",
            ("七人の侍", b"\0\xff"),
        ).fetchone()
        assert moment.isoformat() == "2026-11-27T10:00:00+00:00"
        assert (digits, title, content) == (0.1 + 0.2, "七人の侍", b"\0\xff")
        found = conn.execute("select current_setting('transaction_isolation')").fetchone()
        assert found == ("read committed",)


def raise_in_postgres(code: str) -> str:
    return f"do $$ begin raise exception 'words of the server' using errcode = '{code}'; end $$"


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("25P03", ServiceUnavailableError, "ended the session"),
        ("25P04", ServiceUnavailableError, "ended the session"),
        ("57P05", ServiceUnavailableError, "ended the session"),
        ("57014", TransientError, "was canceled"),
        ("55P03", LockedError, "holds a lock"),
        ("40001", TransientError, "two transactions"),
        ("40P01", TransientError, "two transactions"),
        ("53100", ServiceUnavailableError, "the disk of PostgreSQL is full"),
        ("53200", ServiceUnavailableError, "too little memory"),
        ("53400", ConfigurationError, "a limit of PostgreSQL"),
    ],
)
def test_what_ended_a_statement_is_named(postgres_dsn, code, kind, message):
    with (
        pytest.raises(kind, match=message) as failed,
        database.connect(settings(postgres_dsn)) as conn,
    ):
        conn.execute(raise_in_postgres(code))
    assert type(failed.value) is kind
    assert failed.value.found == "words of the server"
    assert "start it" not in str(failed.value)


def test_a_statement_that_is_ended_by_a_limit_for_temporary_files_names_it(postgres_dsn):
    set_for_database(postgres_dsn, {"temp_file_limit": "64kB", "work_mem": "64kB"})
    with (
        pytest.raises(ConfigurationError, match="temp_file_limit"),
        database.connect(settings(postgres_dsn)) as conn,
    ):
        conn.execute("select n from generate_series(1, 100000) as n order by -n").fetchone()


def test_a_lock_that_is_held_elsewhere_is_no_silent_server(postgres_dsn):
    with psycopg.connect(postgres_dsn) as other:
        other.execute("create table held (a int)")
        other.commit()
        other.execute("lock table held")
        with (
            pytest.raises(LockedError, match="lock timeout"),
            database.connect(settings(postgres_dsn)) as conn,
        ):
            conn.execute("set lock_timeout = '20ms'; select * from held")


def test_a_session_that_the_server_ended_is_no_silent_server(postgres_dsn):
    def wait_in_a_transaction() -> None:
        with database.connect(settings(postgres_dsn)) as conn, conn.transaction():
            conn.execute("set idle_in_transaction_session_timeout = '20ms'")
            time.sleep(0.3)
            conn.execute("select 1")

    with pytest.raises(ServiceUnavailableError, match="ended the session"):
        wait_in_a_transaction()


def test_a_database_that_is_set_to_read_only_is_a_permanent_error(postgres_dsn):
    set_for_database(postgres_dsn, {"default_transaction_read_only": "on"})
    with (
        pytest.raises(ConfigurationError, match="set to read-only") as refused,
        database.connect(settings(postgres_dsn)) as conn,
        conn.transaction(),
    ):
        conn.execute("create table new (a int)")
    assert "default_transaction_read_only is on (set by: database)" in str(refused.value)


def test_an_account_without_a_free_connection_is_told_so(postgres_dsn):
    account = dict.fromkeys(("user", "password"), "crowded")
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute("create role crowded login password 'crowded' connection limit 0")
        try:
            with (
                pytest.raises(ServiceUnavailableError, match="no free connection") as refused,
                database.connect(settings(elsewhere(postgres_dsn, **account))),
            ):
                pytest.fail("it connected")
        finally:
            admin.execute("drop role crowded")
    assert "CONNECTION LIMIT" in refused.value.hint
