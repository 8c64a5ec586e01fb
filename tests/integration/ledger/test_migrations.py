"""Migrations of the ledger against a real server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from recsys import database, ledger
from recsys.database import Connection, PostgresSettings
from recsys.errors import ConfigurationError, LedgerError
from recsys.ledger import migrations


@pytest.fixture
def empty(postgres_dsn: str):
    with Connection.connect(postgres_dsn, autocommit=True) as connection:
        yield connection


def test_all_migrations_run_once_and_are_recorded(empty):
    known = [m.number for m in migrations.available()]
    assert migrations.apply(empty) == known
    assert migrations.apply(empty) == []
    assert ledger.applied(empty) == known
    ledger.check_current(empty)


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def narrow(request, postgres_server) -> Iterator[tuple[str, PostgresSettings]]:
    """A database with an encoding that cannot store every text."""
    name = sql.Identifier(f"narrow_{request.param.lower()}")
    create = sql.SQL(
        "create database {} encoding {} locale_provider libc locale 'C' template template0"
    ).format(name, sql.Literal(request.param))
    with postgres_server.connect("postgres", autocommit=True) as connection:
        connection.execute(create)
        dsn = postgres_server.dsn(f"narrow_{request.param.lower()}")
        yield request.param, PostgresSettings(dsn=SecretStr(dsn))
        connection.execute(sql.SQL("drop database {} with (force)").format(name))


def test_a_database_of_another_encoding_is_refused_before_anything_is_made(narrow):
    encoding, settings = narrow
    with database.connect(settings) as conn:
        with pytest.raises(ConfigurationError, match="cannot store every text") as failure:
            ledger.prepare(conn)
        assert f"encoding {encoding} of database narrow_" in str(failure.value.found)
        assert failure.value.expected == "encoding UTF8"
        assert "encoding 'UTF8' template template0" in failure.value.hint
        found = conn.execute("select count(*) from pg_namespace where nspname ~ '^recsys'")
        assert found.fetchone() == (0,)


def test_the_command_of_the_hint_makes_a_database_that_is_accepted(narrow, postgres_server):
    _, settings = narrow
    with (
        database.connect(settings) as conn,
        pytest.raises(ConfigurationError) as failure,
    ):
        ledger.prepare(conn)
    command = failure.value.hint.partition(": ")[2].partition(";")[0]
    name = f"wide_{uuid.uuid4().hex}"
    with postgres_server.connect("postgres", autocommit=True) as connection:
        connection.execute(command.replace("database recsys", f"database {name}"))
        dsn = SecretStr(postgres_server.dsn(name))
        with database.connect(PostgresSettings(dsn=dsn)) as conn:
            ledger.prepare(conn)
            ledger.check_current(conn)
        connection.execute(f"drop database {name} with (force)")


def test_an_empty_database_has_an_error_of_its_own(empty):
    with pytest.raises(LedgerError, match="contains no ledger"):
        ledger.check_current(empty)


def test_an_older_schema_is_reported_and_upgraded(empty, monkeypatch):
    migrations.apply(empty)
    newer = migrations.Migration(9998, "newer", "create table recsys.newer ()")
    known = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: [*known, newer])
    with pytest.raises(LedgerError, match="older than this code"):
        ledger.check_current(empty)
    assert migrations.apply(empty) == [9998]
    ledger.check_current(empty)
    empty.execute("table recsys.newer")


def test_a_newer_schema_is_refused(empty):
    migrations.apply(empty)
    empty.execute("insert into recsys.migrations (number, name, sha256) values (9999, 'x', '')")
    with pytest.raises(LedgerError, match="migrated by newer code"):
        migrations.apply(empty)
    with pytest.raises(LedgerError, match="migrated by newer code"):
        ledger.check_current(empty)


def test_a_migration_that_fails_leaves_neither_changes_nor_record(empty, monkeypatch):
    broken = migrations.Migration(9998, "broken", "create table recsys.half (); select 1/0")
    known = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: [*known, broken])
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrations.apply(empty)
    assert ledger.applied(empty) == [m.number for m in known]
    assert empty.execute("select to_regclass('recsys.half')").fetchone() == (None,)


def test_several_processes_may_migrate_at_once(postgres_dsn):
    def migrate(_):
        with Connection.connect(postgres_dsn, autocommit=True) as connection:
            return migrations.apply(connection)

    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(migrate, range(4)))
    assert sorted(number for numbers in ran for number in numbers) == [
        m.number for m in migrations.available()
    ]


def test_the_site_role_reads_the_current_release_and_nothing_else(postgres_dsn, empty):
    migrations.apply(empty)
    empty.execute("set role recsys_site")
    empty.execute("select * from recsys.current_release")
    for table in ("releases", "journal", "history", "decisions", "alerts", "migrations"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            empty.execute(sql.SQL("select * from recsys.{}").format(sql.Identifier(table)))
