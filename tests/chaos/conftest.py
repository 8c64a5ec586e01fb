"""A world to break: fresh database and bucket, releases to promote, and figures to print."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from recsys import ledger
from recsys.contract import MANIFEST_FILE, PUBLIC_TABLES, Build, release_key, table_name
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.ledger import State
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos.processes import Child
from tests.conftest import fresh_bucket, fresh_database
from tests.release_maker import Releases


class World(Releases):
    """Servers with a fresh corner, and small releases in it."""

    MOVIES = 4
    USERS = 2

    def __init__(self, services: Services, admin_dsn: str) -> None:
        super().__init__(services)
        self.admin = psycopg.connect(admin_dsn, autocommit=True)
        self.erased: dict[int, str] = {}
        """Digest of the list of erased users that a build leaves out, by number."""

    def build(self, number: int) -> Build:
        build = super().build(number)
        if number not in self.erased:
            return build
        settings = build.settings | {"features": {"erased": self.erased[number]}}
        return build.model_copy(update={"settings": settings})

    def discarded(self, number: int) -> str:
        """A rejected release that retirement has something to do for, made quickly."""
        release_id = self.begin(number)
        with self.services.connect() as conn:
            for table in PUBLIC_TABLES:
                conn.execute(
                    sql.SQL("create table if not exists recsys.{} (id integer)").format(
                        sql.Identifier(table_name(table.name, release_id))
                    )
                )
            manifest = self._manifest(number)
            data = manifest.to_json()
            self.services.store.put_bytes(release_key(release_id, MANIFEST_FILE), data)
            ledger.complete(
                conn,
                manifest,
                hashlib.sha256(data).hexdigest(),
                actor=an_actor("chaos", "made"),
            )
            ledger.move(conn, release_id, State.REJECTED, actor=an_actor("chaos", "not wanted"))
        return release_id

    def state(self, number: int) -> State:
        with self.services.connect() as conn:
            return ledger.get(conn, self.id(number)).state

    def id(self, number: int) -> str:
        return self.build(number).release_id

    def sha256(self, number: int) -> str:
        return hashlib.sha256(self.model_bytes(number)).hexdigest()

    def terminate(self, pid: int) -> None:
        """Ends a session from outside, and returns when it is gone."""
        self.admin.execute("select pg_terminate_backend(%s, 10000)", (pid,))

    def lock_holder(self) -> int:
        """The pid of the session that holds the lock of promotions or of deletions."""
        database = self.services.postgres.dsn.get_secret_value().rsplit("/", 1)[1]
        row = self.admin.execute(
            "select l.pid from pg_locks l join pg_database d on d.oid = l.database "
            "where l.locktype = 'advisory' and l.granted and d.datname = %s "
            "and l.objid = any(%s::oid[])",
            (database, [0x5EC5_0002, 0x5EC5_0003]),
        ).fetchone()
        assert row is not None
        return int(row[0])


Worlds = Callable[[], World]


@contextmanager
def fresh_world(postgres_server: Postgres, s3_server: S3, attempts: int = 8) -> Iterator[World]:
    with fresh_database(postgres_server) as dsn, fresh_bucket(s3_server) as s3:
        s3 = s3.model_copy(update={"max_attempts": attempts})
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3)
        world = World(services, postgres_server.dsn("postgres"))
        with world.admin:
            yield world


@pytest.fixture
def world(postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    """Where S3's client tries as often as in production."""
    with fresh_world(postgres_server, s3_server) as made:
        yield made


@pytest.fixture
def fragile_world(postgres_server: Postgres, s3_server: S3) -> Iterator[World]:
    """Where S3's client tries once, so that one fault reaches the protocol."""
    with fresh_world(postgres_server, s3_server, attempts=1) as made:
        yield made


@pytest.fixture
def worlds(postgres_server: Postgres, s3_server: S3) -> Iterator[Worlds]:
    """A maker of worlds for tests that use up more than one."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(fresh_world(postgres_server, s3_server, attempts=1))


@pytest.fixture(scope="session")
def idle_children() -> Iterator[list[Child]]:
    """Processes that wait for orders; starting one takes a second."""
    children: list[Child] = []
    yield children
    for child in children:
        child.close()


@pytest.fixture
def children(idle_children: list[Child]) -> Iterator[Callable[[World], Child]]:
    """Lends a child process to a world."""
    lent: list[Child] = []

    def lend(world: World) -> Child:
        child = idle_children.pop() if idle_children else Child()
        lent.append(child)
        child.use(world.services)
        return child

    yield lend
    for child in lent:
        # A test that failed may leave one in the middle of something.
        idle_children.append(child) if child.idle else child.close()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes a line that is printed at the end of the session."""
    return lambda line: record_property("figure", line)
