"""Connections to a real PostgreSQL: time limits, refusals, and a pooler in between."""

from __future__ import annotations

import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from recsys import database
from recsys.database import PostgresSettings, long_statement
from recsys.errors import ConfigurationError, ServiceUnavailableError
from tests.silent_proxy import SilentProxy, silent_proxy

_PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


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
def pooler(postgres_dsn: str, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts PgBouncer in a mode before the database; returns the address of the pool."""
    if _PGBOUNCER is None:
        pytest.skip("no pgbouncer here: apt-get install pgbouncer")
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str, pool_size: int = 5) -> str:
        address = conninfo_to_dict(postgres_dsn)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # PgBouncer refuses to run as root, and another account can't read a test's folder.
        folder = tmp_path
        ini = folder / "pgbouncer.ini"
        users = folder / "users.txt"
        users.write_text(f'"{address["user"]}" "{address["password"]}"\n')
        ini.write_text(
            "[databases]\n"
            f"{address['dbname']} = host={address['host']} port={address['port']} "
            f"password={address['password']}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\npool_mode = {mode}\n"
            f"default_pool_size = {pool_size}\nignore_startup_parameters = extra_float_digits\n"
        )
        options: dict[str, Any] = {}
        try:
            nobody = pwd.getpwnam("nobody")
            options = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            for path in (tmp_path, *tmp_path.parents):
                if path.owner() == "root" and path.is_relative_to(tmp_path.parents[1]):
                    path.chmod(0o755)
        except (KeyError, PermissionError):
            pass
        started.append(
            subprocess.Popen([_PGBOUNCER, "-q", str(ini)], stderr=subprocess.PIPE, **options)
        )
        through = elsewhere(postgres_dsn, host="127.0.0.1", port=port)
        while True:
            assert started[-1].poll() is None, started[-1].stderr.read().decode()  # type: ignore[union-attr]
            try:
                psycopg.connect(through).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return through

    yield start
    for process in started:
        process.terminate()
        process.wait()


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
