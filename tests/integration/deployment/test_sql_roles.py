"""docker/postgres/roles.sql: the pipeline works with it, and the site's account can only read."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from recsys import releases
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres, postgres_program
from recsys.object_store import S3Settings
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

ROLES = ("recsys_pipeline", "recsys_reader", "recsys_site")


def as_user(dsn: str, user: str) -> str:
    return make_conninfo(**{**conninfo_to_dict(dsn), "user": user, "password": f"of-{user}"})


@pytest.fixture
def accounts(repository: Path, session_home) -> Iterator[str]:
    """A separate server with the accounts of the file, because roles are global to a server."""
    from recsys.embedded.home import Home

    home = Home(session_home.path.parent / f"roles-{uuid.uuid4().hex}")
    server = Postgres(home)
    with home.lock():
        server.start()
    try:
        done = subprocess.run(
            # As the database's image runs it at its first start.
            ["sh", str(repository / "docker/postgres/init.sh")],
            env={
                "PATH": f"{Path(postgres_program('psql')).parent}:{os.environ['PATH']}",
                "POSTGRES_USER": "postgres",
                "POSTGRES_DB": server.dsn(),
                "PIPELINE_DB_PASSWORD": "of-recsys_pipeline",
                "SITE_DB_PASSWORD": "of-recsys_reader",
                "ROLES_FILE": str(repository / "docker/postgres/roles.sql"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield server.dsn()
    finally:
        with home.lock():
            server.stop()


def test_the_pipeline_promotes_and_the_site_reads_and_does_nothing_else(
    accounts: str, s3_settings: S3Settings
) -> None:
    dsn = SecretStr(as_user(accounts, "recsys_pipeline"))
    services = Services(postgres=PostgresSettings(dsn=dsn), s3=s3_settings)
    release_id = Releases(services).candidate(1)
    releases.promote_release(services, release_id, actor=an_actor())

    with psycopg.connect(as_user(accounts, "recsys_reader"), autocommit=True) as site:
        [(shown,)] = site.execute("select release_id from recsys.current_release").fetchall()
        assert shown == release_id
        assert site.execute("select count(*) from movie_vectors").fetchone() == (Releases.MOVIES,)
        for forbidden in (
            "select * from recsys.releases",
            "select * from recsys.history",
            "insert into recsys.history (actor, reason, action) values ('a', 'b', 'c')",
            "drop table movie_vectors",
            "create table public.mine (a int)",
            "set role recsys_pipeline",
        ):
            with pytest.raises(
                (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
            ):
                site.execute(forbidden)
        site.execute("set default_transaction_read_only = off")
        for forbidden in ("delete from movie_vectors", "create table public.mine (a int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                site.execute(forbidden)


def test_the_pipelines_account_is_no_superuser(accounts: str) -> None:
    with psycopg.connect(accounts) as admin:
        found = admin.execute(
            "select rolname, rolsuper, rolcreaterole, rolcreatedb from pg_roles "
            "where rolname = any(%s) order by 1",
            (list(ROLES),),
        ).fetchall()
    assert found == [(name, False, False, False) for name in sorted(ROLES)]


@pytest.mark.parametrize("name", ["pipeline", "site", "trainer"])
def test_bucket_policies_name_actions_and_prefixes(repository: Path, name: str) -> None:
    policy = json.loads((repository / f"docker/s3/{name}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert "*" not in statement["Action"]
        assert "s3:*" not in statement["Action"]
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            assert resource.startswith("arn:aws:s3:::BUCKET")


def test_the_site_may_write_nothing_and_the_trainer_only_its_inbox(repository: Path) -> None:
    site = json.loads((repository / "docker/s3/site.json").read_text())
    assert {a for s in site["Statement"] for a in s["Action"]} == {"s3:GetObject"}
    trainer = json.loads((repository / "docker/s3/trainer.json").read_text())
    [listing] = [s for s in trainer["Statement"] if "s3:ListBucket" in s["Action"]]
    # A condition on the prefix would make a missing object a refusal (403) on Amazon S3.
    assert "Condition" not in listing
    writing = [s for s in trainer["Statement"] if "s3:PutObject" in s["Action"]]
    assert [s["Resource"] for s in writing] == ["arn:aws:s3:::BUCKET/incoming/*"]
