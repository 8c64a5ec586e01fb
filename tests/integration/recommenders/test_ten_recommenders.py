"""Ten recommenders on one PostgreSQL server and in one bucket, and what one can do to another."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from recsys import monitoring, pipeline, recommenders
from recsys.contract import PUBLIC_TABLES, SITE_ROLE, BuildSettings
from recsys.database import PostgresSettings
from recsys.dataset import write_sample
from recsys.embedded.postgres import Postgres
from recsys.errors import ConfigurationError, LedgerError, RecsysError, TransientError
from recsys.object_store import S3Settings
from recsys.recommenders import REMOVING, Description
from recsys.releases import promote_release, recover_promotion
from recsys.services import Services
from tests.actors import an_actor
from tests.kills import Killed, kill_at
from tests.release_maker import Releases

_TABLES = (
    "select relnamespace::regnamespace::text, relname, coalesce(relacl::text, '') from pg_class "
    "where relnamespace::regnamespace::text like 'recsys%' and relkind in ('r', 'v') order by 1, 2"
)


@pytest.fixture
def shared(postgres_server: Postgres, s3_settings: S3Settings) -> Services:
    """The servers that the recommenders share."""
    return Services(
        postgres=PostgresSettings(dsn=SecretStr(postgres_server.dsn("postgres"))), s3=s3_settings
    )


@pytest.fixture
def described(postgres_server: Postgres) -> Iterator[list[Description]]:
    """Ten descriptions; their databases and roles are dropped after the test."""
    mark = uuid.uuid4().hex[:8]
    made = [
        Description(name=f"shop_{mark}_{number}", title=f"Shop {number}", source="/no.zip")
        for number in range(10)
    ]
    yield made
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as conn:
        for one in made:
            name, role = sql.Identifier(one.name), sql.Identifier(one.namespace.site_role)
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(name))
            conn.execute(sql.SQL("drop role if exists {}").format(role))


def provisioned(description: Description, shared: Services) -> Services:
    recommenders.provision(description, shared)
    return recommenders.services_of(description, shared)


def serving(description: Description, shared: Services, number: int = 1) -> Services:
    """A recommender that serves a release."""
    services = provisioned(description, shared)
    promote_release(services, Releases(services).candidate(number), actor=an_actor())
    return services


def content(services: Services) -> dict[str, list[str]]:
    """Every row with its place, every right, and every object with its time."""
    found = {}
    with psycopg.connect(services.postgres.address()) as conn:
        for schema, table, rights in conn.execute(_TABLES).fetchall():
            name = sql.Identifier(schema, table)
            rows = conn.execute(sql.SQL("select t::text from {} t order by 1").format(name))
            found[f"{schema}.{table}"] = [rights, *(text for (text,) in rows)]
    store = services.store
    found["objects"] = [
        f"{each.key} {each.modified} {store.get_bytes(each.key)!r}" for each in store.objects("")
    ]
    return found


def remove(description: Description, folder: Path, shared: Services, *, even_served: bool) -> Path:
    file = folder / f"{description.name}.yaml"
    file.touch()
    list(recommenders.remove(description, file, shared, even_served=even_served))
    return file


def test_three_in_trouble_leave_the_other_seven_as_they_are(
    shared: Services, described: list[Description], tmp_path: Path, record_property
) -> None:
    # The same builds, so the same release ids, tables and relative keys in all ten.
    ten = [serving(one, shared) for one in described]
    killed, removed, fed, *others = ten
    before = [content(services) for services in others]

    candidate = Releases(killed).candidate(2)
    with pytest.raises(Killed):
        promote_release(killed, candidate, actor=an_actor(), trace=kill_at("model copied"))
    remove(described[1], tmp_path, shared, even_served=True)
    source = tmp_path / "data.zip"
    write_sample(source, ratings=500, seed=1)
    source.write_bytes(source.read_bytes()[:1000])
    run = pipeline.data_is_new(
        fed,
        source=str(source),
        trainer_digest=f"sha256:{'b' * 64}",
        settings=BuildSettings(),
        run_id="bad",
        force=False,
        actor=an_actor(),
    ).run
    with pytest.raises(RecsysError):
        pipeline.fetch_dataset(fed, run)

    assert [content(services) for services in others] == before
    for services in others:
        assert monitoring.problems(services) == []
        # The journal of the one that was killed holds up nobody else.
        promote_release(services, Releases(services).candidate(2), actor=an_actor())
    assert removed.store.keys("") == []
    with pytest.raises(ConfigurationError, match="does not exist"), removed.connect():
        pass
    assert recover_promotion(killed, actor=an_actor()).undone
    assert monitoring.problems(killed) == []
    assert monitoring.problems(fed) == []
    rows = sum(len(table) - 1 for one in before for name, table in one.items() if "." in name)
    objects = sum(len(one["objects"]) for one in before)
    record_property("figure", f"seven recommenders: {rows} rows, {objects} objects byte-equal")


def test_readers_of_one_recommender_reach_no_other(
    shared: Services, described: list[Description], postgres_server: Postgres
) -> None:
    ours, theirs = (serving(one, shared) for one in described[:2])
    role = described[0].namespace.site_role
    account = f"{role}_reader"
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as conn:
        conn.execute(
            sql.SQL("create role {} login password 'reader' in role {}").format(
                sql.Identifier(account), sql.Identifier(role)
            )
        )
    try:
        login = {"user": account, "password": "reader"}
        with psycopg.connect(make_conninfo(ours.postgres.address(), **login)) as conn:
            for table in PUBLIC_TABLES:
                assert conn.execute(f"select count(*) from {table.name}").fetchone() != (0,)
            assert conn.execute("select count(*) from recsys.current_release").fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("select from recsys.releases")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(theirs.postgres.address(), **login))
        # Nor do the movies' readers have a right here, even if they could connect.
        with ours.connect() as conn:
            if conn.execute("select from pg_roles where rolname = %s", (SITE_ROLE,)).fetchone():
                assert conn.execute(
                    "select has_schema_privilege(%s, 'recsys', 'usage')", (SITE_ROLE,)
                ).fetchone() == (False,)
    finally:
        with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(account)))


def test_a_connection_that_knows_no_recommender_grants_to_its_readers(
    shared: Services, described: list[Description]
) -> None:
    services = serving(described[0], shared)
    plain = Services(
        postgres=PostgresSettings(dsn=SecretStr(services.postgres.address())), s3=services.s3
    )
    promote_release(plain, Releases(plain).candidate(2), actor=an_actor())
    with plain.connect() as conn:
        assert conn.execute(
            "select has_table_privilege(%s, 'recsys_live.movie_vectors', 'select')",
            (described[0].namespace.site_role,),
        ).fetchone() == (True,)
    assert monitoring.problems(plain) == []


def test_a_provision_that_was_killed_is_finished_by_the_next(
    shared: Services, described: list[Description]
) -> None:
    one = described[0]
    assert "there is no database" in recommenders.problems(one, shared)[0]
    with shared.connect() as conn:
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(one.name)))
    missing, open_to_all = recommenders.problems(one, shared)
    assert "there is no role" in missing
    assert "every account may connect" in open_to_all
    assert recommenders.provision(one, shared) == [f"role {one.namespace.site_role}"]
    assert recommenders.problems(one, shared) == []
    assert recommenders.provision(one, shared) == []


def test_the_printed_statements_make_what_the_command_makes(
    shared: Services, described: list[Description]
) -> None:
    one = described[0]
    with shared.connect() as conn:
        for statement in recommenders.grants(one, conn.info.user):
            conn.execute(statement)
    assert recommenders.problems(one, shared) == []
    assert recommenders.provision(one, shared) == []


def test_a_recommender_that_serves_is_not_removed_by_mistake(
    shared: Services, described: list[Description], tmp_path: Path
) -> None:
    services = serving(described[0], shared)
    before = content(services)
    with pytest.raises(LedgerError, match="serves a release"):
        remove(described[0], tmp_path, shared, even_served=False)
    assert content(services) == before
    assert [path.name for path in tmp_path.iterdir()] == [f"{described[0].name}.yaml"]


def test_objects_of_another_ledger_are_not_deleted(
    shared: Services, described: list[Description], tmp_path: Path
) -> None:
    services = serving(described[0], shared)
    foreign = serving(described[1], shared)
    before = content(foreign)
    # As if somebody had restored the wrong dump.
    services.store.put_bytes("owner.json", foreign.store.get_bytes("owner.json"))
    objects = services.store.keys("")
    with pytest.raises(LedgerError, match="another ledger"):
        remove(described[0], tmp_path, shared, even_served=True)
    assert services.store.keys("") == objects
    assert content(foreign) == before


def test_a_removal_waits_for_readers_and_goes_on_after_a_kill_at_each_step(
    shared: Services, described: list[Description], tmp_path: Path
) -> None:
    one = described[0]
    services = serving(one, shared)
    file = tmp_path / f"{one.name}.yaml"
    file.touch()
    with services.connect():
        steps = recommenders.remove(one, file, shared, even_served=True)
        assert next(steps) == "its DAGs"
        with pytest.raises(TransientError, match="is in use"):
            next(steps)
    assert services.store.keys("") != [], "nothing is deleted while somebody may read it"
    half = file.with_name(file.name + REMOVING)
    gone = []
    while half.exists():
        # Each process is killed after one step.
        steps = recommenders.remove(one, half, shared, even_served=False)
        gone.append(next(steps))
        if gone[-1].startswith("0 objects"):
            list(steps)
        steps.close()
    database, role, objects, nothing = gone
    assert (database, role) == (f"database {one.name}", f"role {one.namespace.site_role}")
    assert objects.endswith(f"objects in {services.store.location}")
    assert nothing == f"0 objects in {services.store.location}"
    assert list(tmp_path.iterdir()) == []
    assert services.store.keys("") == []


def test_the_first_recommender_is_not_removed(shared: Services, tmp_path: Path) -> None:
    movies = Description(name="movie_rec_sys", title="Movies")
    with pytest.raises(ConfigurationError, match="of its own"):
        remove(movies, tmp_path, shared, even_served=True)


def test_the_database_of_somebody_else_is_neither_taken_nor_dropped(
    described: list[Description], shared: Services, postgres_server: Postgres, tmp_path: Path
) -> None:
    """It has the name by chance: a recommender would take its readers' rights, and drop it."""
    theirs, half_made = described[:2]
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as conn:
        for one in (theirs, half_made):
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(one.name)))
    with psycopg.connect(recommenders.services_of(theirs, shared).postgres.address()) as conn:
        conn.execute("create table orders as select 1 as id")
    file = tmp_path / f"{theirs.name}.yaml"
    file.touch()

    with pytest.raises(ConfigurationError, match="was not made for this recommender"):
        recommenders.provision(theirs, shared)
    with pytest.raises(ConfigurationError, match="was not made for this recommender"):
        recommenders.check_removable(theirs, shared, even_served=True)
    for described_by in (file, file.rename(file.with_name(file.name + REMOVING))):
        with pytest.raises(ConfigurationError, match="was not made for this recommender"):
            deque(recommenders.remove(theirs, described_by, shared, even_served=True), maxlen=0)
    with psycopg.connect(recommenders.services_of(theirs, shared).postgres.address()) as conn:
        assert conn.execute("select id from orders").fetchall() == [(1,)]
        [(everybody,)] = conn.execute(
            "select has_database_privilege('public', current_database(), 'connect')"
        ).fetchall()
    assert everybody, "rights are as they were"

    # A command that was killed has left it empty: it is gone on with, and then removed.
    own = provisioned(half_made, shared)
    own.store.put_bytes("report.txt", b"of somebody else, below the same prefix")
    with pytest.raises(LedgerError, match="no ledger that they are of"):
        recommenders.check_removable(half_made, shared, even_served=True)
    assert own.store.keys("") == ["report.txt"]
    own.store.delete(["report.txt"])
    serving(half_made, shared)
    remove(half_made, tmp_path, shared, even_served=True)
