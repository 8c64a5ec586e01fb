"""Search path and rights: added to what is there, made again when they are lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import conninfo, sql
from pydantic import SecretStr

from recsys import ledger, monitoring
from recsys.contract import LIVE_SCHEMA, SITE_ROLE
from recsys.database import PostgresSettings
from recsys.ledger import Action
from recsys.object_store import S3Settings
from recsys.releases import promote_release, recover_promotion
from recsys.services import Services
from tests.actors import an_actor
from tests.kills import Killed, kill_at
from tests.release_maker import Releases


@pytest.fixture
def new_services(postgres_dsn: str, s3_settings: S3Settings) -> Services:
    """An empty database and an empty bucket."""
    return Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)


def execute(services: Services, text: str, *names: str) -> None:
    with services.connect() as conn:
        conn.execute(sql.SQL(text).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


def database(services: Services) -> str:
    return str(conninfo.conninfo_to_dict(services.postgres.dsn.get_secret_value())["dbname"])


def path_of_a_new_session(services: Services) -> str:
    with psycopg.connect(services.postgres.dsn.get_secret_value()) as plain:
        [(path,)] = plain.execute("show search_path").fetchall()
    return str(path)


def test_a_path_that_another_application_set_keeps_its_schemas(new_services: Services) -> None:
    name = database(new_services)
    odd = 'Shop {Data}; "x"'
    execute(new_services, "create schema {}", "Shop Data")
    execute(new_services, "alter database {} set search_path = {}, public", name, odd)
    recover_promotion(new_services, actor=an_actor())
    assert path_of_a_new_session(new_services) == f'"Shop {{Data}}; ""x""", public, {LIVE_SCHEMA}'

    execute(new_services, "alter database {} set search_path = {}, public", name, "Shop Data")
    recover_promotion(new_services, actor=an_actor())
    assert path_of_a_new_session(new_services) == f'"Shop Data", public, {LIVE_SCHEMA}'

    execute(new_services, "alter database {} set search_path = public, {}", name, "Shop Data")
    assert any("search_path" in text for text in monitoring.problems(new_services))
    recover_promotion(new_services, actor=an_actor("ada", "repair"))
    assert path_of_a_new_session(new_services) == f'public, "Shop Data", {LIVE_SCHEMA}'
    assert monitoring.problems(new_services) == []
    with new_services.connect() as conn:
        event, *_ = [e for e in ledger.history(conn) if e["action"] == Action.SEARCH_PATH_CHANGED]
    assert event["actor"] == "ada"
    assert event["detail"]["before"] == 'public, "Shop Data"'

    recover_promotion(new_services, actor=an_actor())
    assert path_of_a_new_session(new_services) == f'public, "Shop Data", {LIVE_SCHEMA}'


def test_rights_of_the_site_are_granted_again(services: Services, releases: Releases) -> None:
    promote_release(services, releases.candidate(1), actor=an_actor())
    for lost in (
        "revoke usage on schema recsys from {}",
        "revoke select on recsys.current_release from {}",
        f"revoke usage on schema {LIVE_SCHEMA} from {{}}",
        f"revoke select on {LIVE_SCHEMA}.user_towers from {{}}",
    ):
        execute(services, lost, SITE_ROLE)
        [problem] = monitoring.problems(services)
        assert f"{SITE_ROLE} may not read" in problem
        recover_promotion(services, actor=an_actor())
        assert monitoring.problems(services) == []

    # The view without the right gets another name, under which nobody looks for it.
    view = f"{LIVE_SCHEMA}.user_towers"
    execute(services, f"revoke select on {view} from {{}}", SITE_ROLE)
    execute(services, "alter schema {} rename to other", LIVE_SCHEMA)
    [problem] = [text for text in monitoring.problems(services) if SITE_ROLE in text]
    assert f"{SITE_ROLE} may not read" in problem
    assert f"{view} (missing)" in problem
    recover_promotion(services, actor=an_actor())
    assert [text for text in monitoring.problems(services) if "other." not in text] == []


def test_a_path_of_the_sites_role_that_hides_the_tables_is_reported(
    services: Services, releases: Releases
) -> None:
    promote_release(services, releases.candidate(1), actor=an_actor())
    name = database(services)
    execute(services, "alter role {} in database {} set search_path = public", SITE_ROLE, name)
    [problem] = monitoring.problems(services)
    assert "search_path of its own (public)" in problem
    execute(
        services,
        "alter role {} in database {} set search_path = public, {}",
        SITE_ROLE,
        name,
        LIVE_SCHEMA,
    )
    assert monitoring.problems(services) == []


@pytest.fixture
def tenant(new_services: Services) -> Iterator[Services]:
    """An account that owns the ledger and no longer the database."""
    role, password = f"tenant_{uuid.uuid4().hex[:8]}", "secret"
    with new_services.connect() as admin:
        admin.execute("create extension vector")
        owner = admin.execute("select current_user").fetchone()
        assert owner is not None
        admin.execute(
            sql.SQL("create role {} login password {}").format(
                sql.Identifier(role), sql.Literal(password)
            )
        )
        name = database(new_services)
        change = sql.SQL("alter database {} owner to {}")
        admin.execute(change.format(sql.Identifier(name), sql.Identifier(role)))
        dsn = conninfo.make_conninfo(
            new_services.postgres.dsn.get_secret_value(), user=role, password=password
        )
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=new_services.s3)
        recover_promotion(services, actor=an_actor())
        admin.execute(change.format(sql.Identifier(name), sql.Identifier(owner[0])))
        admin.execute(
            sql.SQL("grant create on database {} to {}").format(
                sql.Identifier(name), sql.Identifier(role)
            )
        )
        yield services
        admin.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(role)))
        admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_recovery_needs_no_right_to_change_the_database(
    new_services: Services, tenant: Services
) -> None:
    releases = Releases(tenant)
    first = releases.candidate(1)
    promote_release(tenant, first, actor=an_actor())
    with pytest.raises(Killed):
        promote_release(
            tenant, releases.candidate(2), actor=an_actor(), trace=kill_at("model copied")
        )
    execute(new_services, "alter database {} reset search_path", database(new_services))

    assert recover_promotion(tenant, actor=an_actor()).undone is not None
    with tenant.connect() as conn:
        assert ledger.open_journals(conn) == []
    [problem] = monitoring.problems(tenant)
    assert "search_path" in problem
