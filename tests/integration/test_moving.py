"""docs/upgrading.md, moving: a stack with a champion goes to another PostgreSQL and bucket."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from recsys import monitoring
from recsys.contract import PUBLIC_MODEL_KEY, PUBLIC_TABLES
from recsys.database import PostgresSettings
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres, postgres_program
from recsys.embedded.s3 import S3
from recsys.object_store import ObjectStore, S3Settings
from recsys.releases import live_tables, promote_release, recover_promotion, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.conftest import fresh_bucket
from tests.release_maker import Releases

# As in docs/upgrading.md.
DUMP = ("pg_dump", "--format=custom", "--no-owner")
RESTORE = ("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction")


def client(*arguments: str) -> None:
    program, *rest = arguments
    done = subprocess.run(
        [str(postgres_program(program)), *rest], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def copy_bucket(source: ObjectStore, target: ObjectStore, through: Path) -> None:
    """As `aws s3 sync` through a folder does: contents, without the objects' metadata."""
    for key in source.keys(""):
        path = through / key
        path.parent.mkdir(parents=True, exist_ok=True)
        source.download(key, path)
        target.put_file(key, path)


@pytest.fixture
def old(postgres_dsn: str, s3_settings: S3Settings) -> Services:
    """Where a champion is served, and another was before it."""
    services = Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)
    releases = Releases(services)
    for number in (1, 2):
        promote_release(services, releases.candidate(number), actor=an_actor())
    return services


@pytest.fixture
def new(home: Home, s3_server: S3) -> Iterator[Services]:
    """Another server, with nothing in it but the role that dumps do not hold."""
    server = Postgres(home)
    with home.lock():
        server.start()
    with server.connect("recsys", autocommit=True) as conn:
        conn.execute("create role recsys_site nologin")
    with fresh_bucket(s3_server) as s3:
        yield Services(postgres=PostgresSettings(dsn=SecretStr(server.dsn("recsys"))), s3=s3)


def rows(services: Services) -> dict[str, list[tuple[object, ...]]]:
    with services.connect() as conn:
        return {
            table.name: conn.execute(
                f"select {table.id_column}, vector::text from {table.name} order by 1"
            ).fetchall()
            for table in PUBLIC_TABLES
        }


def test_a_moved_stack_serves_the_same_pair_and_can_go_back(
    old: Services, new: Services, tmp_path: Path
) -> None:
    before = monitoring.read_status(old)
    dump = tmp_path / "recsys.dump"
    old_dsn, new_dsn = (s.postgres.dsn.get_secret_value() for s in (old, new))
    client(*DUMP, f"--file={dump}", f"--dbname={old_dsn}")
    client(*RESTORE, f"--dbname={new_dsn}", str(dump))
    copy_bucket(old.store, new.store, tmp_path / "bucket")
    # What a dump of the content and a copy of the bytes do not bring along.
    problems_text = " ".join(monitoring.problems(new))
    assert "search_path" in problems_text
    assert "public copies" in problems_text

    recover_promotion(new, actor=an_actor())

    assert monitoring.problems(new) == []
    after = monitoring.read_status(new)
    assert after == before
    assert rows(new) == rows(old)
    champion, previous = (before[n]["release_id"] for n in ("champion", "previous_champion"))
    with new.connect() as conn:
        assert conn.execute("select release_id from recsys.current_release").fetchone() == (
            champion,
        )
        [(readable,)] = conn.execute(
            "select has_table_privilege('recsys_site', 'movie_vectors', 'select')"
        ).fetchall()
        assert readable
    assert roll_back(new, previous, actor=an_actor()).changed
    with new.connect() as conn:
        live = live_tables(conn)
    assert all(previous.replace("-", "_") in str(table) for table in live.values())
    # What the move left behind was not touched.
    assert monitoring.read_status(old)["champion"]["release_id"] == champion
    assert new.store.get_bytes(PUBLIC_MODEL_KEY) != old.store.get_bytes(PUBLIC_MODEL_KEY)


def test_a_restore_without_the_bucket_is_reported(
    old: Services, new: Services, tmp_path: Path
) -> None:
    dump = tmp_path / "recsys.dump"
    client(*DUMP, f"--file={dump}", f"--dbname={old.postgres.dsn.get_secret_value()}")
    client(*RESTORE, f"--dbname={new.postgres.dsn.get_secret_value()}", str(dump))
    champion = monitoring.read_status(old)["champion"]["release_id"]
    assert any(champion in problem for problem in monitoring.problems(new))
