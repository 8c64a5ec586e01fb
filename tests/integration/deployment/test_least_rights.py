"""Accounts with fewer rights than usual work, or the missing grant is named."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from recsys import ledger, releases, vectors
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError
from recsys.monitoring import problems
from recsys.object_store import S3Settings
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases


@dataclass(frozen=True)
class Account:
    """An account without any right, in a database of an administrator."""

    name: str
    admin: psycopg.Connection
    services: Services

    def run(self, *statements: str) -> None:
        """Runs statements as the administrator; ``{a}`` is the account, ``{d}`` the database."""
        for statement in statements:
            names = {"a": sql.Identifier(self.name), "d": sql.Identifier(self.admin.info.dbname)}
            self.admin.execute(sql.SQL(statement).format(**names))  # type: ignore[arg-type]


@pytest.fixture
def account(postgres_dsn: str, s3_settings: S3Settings) -> Iterator[Account]:
    name = f"pipeline-{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password 'p'").format(sql.Identifier(name)))
        dsn = SecretStr(make_conninfo(postgres_dsn, **{"user": name, "password": "p"}))
        services = Services(postgres=PostgresSettings(dsn=dsn), s3=s3_settings)
        yield Account(name, admin, services)
        admin.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
        admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def promote(account: Account) -> str:
    with account.services.connect() as conn:
        ledger.prepare(conn)
        vectors.enable_vector_extension(conn)
    release_id = Releases(account.services).candidate(1)
    releases.promote_release(account.services, release_id, actor=an_actor())
    return release_id


def test_an_account_that_does_not_own_the_database_needs_the_documented_grants(
    account: Account,
) -> None:
    account.run(
        "create extension vector schema public",
        "grant create on database {d} to {a}",
        'alter database {d} set search_path = "$user", recsys_live, public',
        "create schema recsys authorization {a}",
    )
    release_id = promote(account)
    assert problems(account.services) == []
    assert account.admin.execute("select release_id from recsys.current_release").fetchall() == [
        (release_id,)
    ]


def test_without_the_search_path_the_pipeline_works_and_doctor_names_the_statement(
    account: Account,
) -> None:
    account.run("create extension vector schema public", "grant create on database {d} to {a}")
    promote(account)
    [problem] = problems(account.services)
    statement = problem.rpartition("owns the database: ")[2]
    assert statement.startswith("alter database ")
    account.admin.execute(statement.encode())
    assert problems(account.services) == []


def test_an_extension_in_a_schema_of_its_own_is_found_on_the_search_path(account: Account) -> None:
    account.run(
        "create schema extensions",
        "create extension vector schema extensions",
        "grant create on database {d} to {a}",
    )
    with pytest.raises(ConfigurationError, match="pgvector is in a schema") as failure:
        promote(account)
    for statement in failure.value.hint.partition("runs: ")[2].split("; "):
        account.admin.execute(statement.encode())
    promote(account)
    [problem] = problems(account.services)
    account.admin.execute(problem.rpartition("owns the database: ")[2].encode())
    assert problems(account.services) == []


@pytest.mark.parametrize(
    ("rights", "grant"),
    [
        ([], r"grant create on database \S+ to \S+"),
        (["create schema recsys"], r'alter schema "recsys" owner to \S+'),
        (
            ["create schema recsys", "grant usage on schema recsys to {a}"],
            r'alter schema "recsys" owner to \S+',
        ),
        (["create schema recsys authorization {a}"], r"grant create on database \S+ to \S+"),
    ],
    ids=["nothing", "schema of another", "schema without create", "no second schema"],
)
def test_a_missing_right_is_named_with_its_grant(
    account: Account, rights: list[str], grant: str
) -> None:
    account.run("create extension vector schema public", *rights)
    with pytest.raises(ConfigurationError, match="lacks a right") as failure:
        promote(account)
    assert account.name in str(failure.value.found)
    statement = failure.value.hint.partition("runs: ")[2]
    assert re.fullmatch(grant, statement)
    # It is what was missing: the next failure, if any, is another one.
    account.admin.execute(statement.encode())
    with suppress(ConfigurationError):
        promote(account)
        return
    with pytest.raises(ConfigurationError) as other:
        promote(account)
    assert other.value.hint != failure.value.hint


def test_an_account_that_may_not_install_pgvector_is_sent_to_an_administrator(
    account: Account,
) -> None:
    account.run("grant create on database {d} to {a}")
    with pytest.raises(ConfigurationError, match="pgvector") as failure:
        promote(account)
    assert "create extension vector" in failure.value.hint


def test_doctor_names_the_rights_that_an_account_lacks(account: Account) -> None:
    account.run("create extension vector schema public", "create schema recsys")
    account.run("create table recsys.migrations (number integer, name text)")
    found = problems(account.services)
    assert any("lacks a right" in problem and account.name in problem for problem in found), found
