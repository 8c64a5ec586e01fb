"""Airflow's Connections: what the providers' hooks make of them, we do; and they move by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from recsys.errors import ConfigurationError
from tests.descriptions import MOVIES

PG_VARIABLE = "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND"


@pytest.fixture
def airflow(airflow_db):
    """Airflow's command line, in this process."""
    from airflow.cli import cli_parser

    def run(*arguments: str) -> None:
        parsed = cli_parser.get_parser().parse_args(arguments)
        parsed.func(parsed)

    return run


def test_connections_and_variables_come_back_as_they_were(airflow, tmp_path: Path):
    dsn = "postgresql://u:p%40ss%2Fword@db.example.org:5432/recsys"
    connections, again = tmp_path / "connections.json", tmp_path / "again.json"
    variables, variables_again = tmp_path / "variables.json", tmp_path / "variables-again.json"
    airflow("connections", "add", "recsys_moved", "--conn-uri", dsn)
    airflow("variables", "set", "recsys_trainer_image", f"trainer@sha256:{'a' * 64}")
    airflow("connections", "export", str(connections))
    airflow("variables", "export", str(variables))
    # As an empty Airflow.
    airflow("connections", "delete", "recsys_moved")
    airflow("variables", "delete", "recsys_trainer_image")
    try:
        airflow("connections", "import", str(connections))
        airflow("variables", "import", str(variables))
        airflow("connections", "export", str(again))
        airflow("variables", "export", str(variables_again))
        assert '"p@ss/word"' in connections.read_text()
        assert again.read_text() == connections.read_text()
        assert variables_again.read_text() == variables.read_text()
    finally:
        airflow("connections", "delete", "recsys_moved")
        airflow("variables", "delete", "recsys_trainer_image")


# --- PostgreSQL ---

ADDRESS = {"host": "db.example.org", "login": "u", "password": "p@ss/word", "schema": "recsys"}
# Each value differs from what libpq and recsys would take without it.
POSTGRES_EXTRAS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "tls": {
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/ca.pem",
        "sslcrl": "/etc/ssl/crl.pem",
        "ssl_min_protocol_version": "TLSv1.3",
        "channel_binding": "require",
        "sslnegotiation": "direct",
    },
    "system-roots": {"sslmode": "verify-full", "sslrootcert": "system"},
    "client-certificate": {
        "sslmode": "require",
        "sslcert": "/etc/ssl/me.pem",
        "sslkey": "/etc/ssl/me.key",
        "sslpassword": "hush",
    },
    "hosts": {
        "host": "one.example.org,two.example.org",
        "port": "5432,5433",
        "target_session_attrs": "read-write",
        "load_balance_hosts": "random",
    },
    "socket": {"host": "/var/run/postgresql"},
    "address": {"hostaddr": "192.0.2.7"},
    "options": {"options": "-c search_path=other -c work_mem=64MB"},
    "keepalives": {
        "keepalives": 0,
        "keepalives_idle": "240",
        "keepalives_interval": 7,
        "keepalives_count": 9,
        "tcp_user_timeout": 1234,
        "connect_timeout": 3,
        "application_name": "the site's pipeline",
    },
    "kerberos": {"gssencmode": "require", "krbsrvname": "pg", "require_auth": "gss"},
    "files": {"passfile": "/etc/pgpass", "service": "recsys"},
    "unset": {"sslmode": None, "connect_timeout": None},
    "of-airflow": {"cursor": "dictcursor", "sqlalchemy_query": {"a": "b"}, "sslmode": "require"},
    "of-the-client": {"autocommit": True, "prepare_threshold": None, "sslmode": "require"},
}
POSTGRES_CONNECTIONS = {
    **{
        name: json.dumps({"conn_type": "postgres", "port": 6543, **ADDRESS, "extra": extra})
        for name, extra in POSTGRES_EXTRAS.items()
    },
    "uri": "postgresql://u:p%40ss%2Fword@db.example.org:5433/recsys?sslmode=verify-ca",
    "uri-of-a-socket": "postgresql:///recsys?host=%2Fvar%2Frun%2Fpostgresql&port=6000",
    "uri-without-a-port": "postgres://u@db.example.org/recsys?target_session_attrs=primary",
    "without-a-database": "postgres://u@db.example.org",
}
OF_THE_CLIENT = {"autocommit", "prepare_threshold", "row_factory"}


def what_the_hook_connects_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The parameters of libpq that Airflow's hook gives to psycopg."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    from recsys_dag.connections import PG_CONN_ID

    given: dict[str, Any] = {}

    def connect(**fields: Any) -> None:
        given.update(fields)
        raise psycopg.OperationalError("this test reads only what was asked for")

    with monkeypatch.context() as patched:
        patched.setattr("psycopg.connection.Connection.connect", connect)
        with pytest.raises(psycopg.OperationalError, match="reads only"):
            PostgresHook(postgres_conn_id=PG_CONN_ID).get_conn()
    dsn = make_conninfo(**{k: v for k, v in given.items() if k not in OF_THE_CLIENT})
    return conninfo_to_dict(dsn)


def what_we_connect_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The parameters of libpq that we give to psycopg."""
    from recsys import database
    from recsys_dag.connections import postgres_settings

    given: dict[str, Any] = {}

    def connect(dsn: str, autocommit: bool, **parameters: Any) -> None:
        given.update(conninfo_to_dict(dsn, **parameters))
        raise psycopg.OperationalError("this test reads only what was asked for")

    with monkeypatch.context() as patched:
        patched.setattr(database.Connection, "connect", connect)
        with pytest.raises(Exception, match="reads only"), database.connect(postgres_settings()):
            pass
    return given


@pytest.mark.parametrize("name", POSTGRES_CONNECTIONS)
def test_postgres_is_reached_as_airflows_hook_reaches_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PG_VARIABLE, POSTGRES_CONNECTIONS[name])
    hook, ours = what_the_hook_connects_with(monkeypatch), what_we_connect_with(monkeypatch)
    assert {field: ours.get(field) for field in hook} == hook
    assert ours.keys() - hook.keys() <= {
        "application_name",
        "client_encoding",
        "connect_timeout",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "tcp_user_timeout",
    }, "only defaults are added"


def test_a_field_that_libpq_does_not_know_is_named_and_the_password_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from recsys_dag.connections import postgres_settings

    extra = {"sslmod": "require"}
    monkeypatch.setenv(
        PG_VARIABLE, json.dumps({"conn_type": "postgres", **ADDRESS, "extra": extra})
    )
    with pytest.raises(ConfigurationError, match="recsys_pg_vector_backend is invalid") as caught:
        postgres_settings()
    assert "sslmod" in str(caught.value)
    assert "p@ss" not in str(caught.value)


def test_a_token_in_place_of_a_password_is_made_anew_for_each_connection(
    monkeypatch: pytest.MonkeyPatch, s3_settings: Any
) -> None:
    """As on Amazon RDS, where a token is valid for 15 minutes and a training takes hours."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    from recsys import database
    from recsys_dag import settings

    tokens = iter(("first", "second", "third"))
    monkeypatch.setattr(
        PostgresHook, "get_iam_token", lambda _, found: (found.login, next(tokens), 5432)
    )
    extra = {"iam": True, "sslmode": "require"}
    monkeypatch.setenv(
        PG_VARIABLE, json.dumps({"conn_type": "postgres", **ADDRESS, "extra": extra})
    )
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_S3", "aws://?bucket_name=bucket")
    passwords: list[object] = []

    def connect(dsn: str, **_: Any) -> None:
        passwords.append(conninfo_to_dict(dsn)["password"])
        raise psycopg.OperationalError("this test reads only what was asked for")

    monkeypatch.setattr(database.Connection, "connect", connect)
    services = settings.services(MOVIES)
    for _ in range(2):
        with pytest.raises(Exception, match="reads only"), services.connect():
            pass
    assert passwords == ["second", "third"]


def test_a_server_without_tls_is_refused_if_the_connection_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, postgres_dsn: str
) -> None:
    from recsys import database
    from recsys_dag.connections import postgres_settings

    monkeypatch.setenv(PG_VARIABLE, f"{postgres_dsn}?sslmode=require")
    with (
        pytest.raises(ConfigurationError, match="does not support SSL"),
        database.connect(postgres_settings()),
    ):
        pytest.fail("it connected without TLS")


def test_options_of_the_connection_hold_in_the_session(
    monkeypatch: pytest.MonkeyPatch, postgres_dsn: str
) -> None:
    from recsys import database
    from recsys_dag.connections import postgres_settings

    query = "options=-c%20work_mem%3D7MB&application_name=ours&keepalives_idle=99"
    monkeypatch.setenv(PG_VARIABLE, f"{postgres_dsn}?{query}")
    with database.connect(postgres_settings()) as conn:
        assert conn.execute("show work_mem").fetchone() == ("7MB",)
        assert conn.execute("show application_name").fetchone() == ("ours",)
        assert conn.info.get_parameters()["keepalives_idle"] == "99"
