"""Connections are checked by using them, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from recsys import monitoring
from recsys.contract import INBOX_PREFIX
from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.monitoring import bucket_probe, check_connection, database_probe
from recsys.object_store import ObjectStore, S3Settings
from recsys.releases import promote_release
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

SECRET = "s3cret-of-this-test"  # noqa: S105


def postgres(dsn: str) -> PostgresSettings:
    return PostgresSettings(dsn=SecretStr(dsn))


def test_servers_that_work(services: Services) -> None:
    database, bucket = monitoring.check_services(services)
    assert database.works, database
    assert database.tried[-1] == "query the nearest vector"
    assert "pgvector 0." in database.found
    assert bucket.works, bucket
    assert bucket.tried[2:] == ("write an object", "read it", "delete it")
    assert services.s3.bucket in bucket.address
    assert services.store.keys("") == []


def test_the_live_vectors_are_queried(services: Services, releases: Releases) -> None:
    release = releases.candidate(1)
    releases.judge(release)
    promote_release(services, release, actor=an_actor())
    checked = check_connection("pg", database_probe(lambda: services.postgres, writes=False))
    assert checked.works, checked
    assert checked.tried[-1] == "query the live movie vectors"
    assert "in the live vectors" in checked.found


def test_an_empty_database_stays_empty(postgres_dsn: str) -> None:
    assert check_connection("pg", database_probe(lambda: postgres(postgres_dsn))).works
    with psycopg.connect(postgres_dsn) as conn:
        found = conn.execute(
            "select to_regnamespace('recsys'), count(*) from pg_extension where extname = 'vector'"
        ).fetchone()
    assert found == (None, 0)


def test_a_reader_without_the_extension_learns_what_to_do(postgres_dsn: str) -> None:
    checked = check_connection("pg", database_probe(lambda: postgres(postgres_dsn), writes=False))
    assert not checked.works
    assert "create extension vector" in str(checked)


@pytest.fixture
def poor_account(postgres_server: Postgres, postgres_dsn: str) -> Iterator[str]:
    """An account that may connect and nothing else."""
    name = f"poor_{os.getpid()}"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        role = sql.Identifier(name)
        conn.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(SECRET)))
        yield psycopg.conninfo.make_conninfo(postgres_dsn, user=name, password=SECRET)
        conn.execute(sql.SQL("drop role {}").format(role))


def test_an_account_without_rights(poor_account: str) -> None:
    checked = check_connection("pg", database_probe(lambda: postgres(poor_account)))
    assert not checked.works
    assert checked.tried[-1].startswith("create schema")
    assert "grant create on database" in str(checked)
    assert SECRET not in str(checked)


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({"bucket": "no-such-bucket"}, "find the bucket"),
        ({"secret_key": SecretStr(SECRET)}, "find the bucket"),
        ({"endpoint": "http://127.0.0.1:1", "max_attempts": 1}, "find the bucket"),
    ],
)
def test_a_store_that_does_not_work(
    s3_settings: S3Settings, changed: dict[str, object], step: str
) -> None:
    given = s3_settings.model_copy(update=changed)
    checked = check_connection("recsys_s3", bucket_probe(lambda: given))
    assert not checked.works
    assert checked.tried[-1] == step
    assert "what to do" in str(checked)
    assert SECRET not in str(checked)


def test_an_object_that_a_killed_check_left_is_deleted_by_a_later_one(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore.connect(s3_settings)
    variables = {"RECSYS_S3_BUCKET": s3_settings.bucket, **s3_settings.credentials()}
    variables |= {"RECSYS_S3_ENDPOINT": s3_settings.endpoint or ""}
    code = (
        "import os, signal\n"
        "from recsys.monitoring import bucket_probe, check_connection\n"
        "from recsys.object_store import ObjectStore, S3Settings\n"
        "ObjectStore.get_bytes = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "check_connection('s3', bucket_probe(S3Settings.from_environment))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    [left] = store.keys("")
    assert left.startswith(monitoring.CHECKS_FOLDER)
    probe = bucket_probe(lambda: s3_settings)
    assert check_connection("s3", probe).works
    assert store.keys("") == [left], "it may be of a check that runs now"
    # The clocks of client and server may differ a little.
    monkeypatch.setattr("recsys.monitoring.connections.LEFTOVER_AGE", timedelta(minutes=-1))
    assert check_connection("s3", probe).works
    assert store.keys("") == []


def test_bytes_that_change_are_noticed_and_deleted(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectStore, "get_bytes", lambda *_: b"other")
    checked = check_connection("s3", bucket_probe(lambda: s3_settings))
    assert checked.tried[-1] == "read it"
    assert "other bytes" in str(checked)
    assert ObjectStore.connect(s3_settings).keys("") == []


def test_the_trainers_account_is_checked_in_its_inbox(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    put = ObjectStore.put_bytes

    def note(store: ObjectStore, key: str, data: bytes) -> None:
        written.append(key)
        put(store, key, data)

    monkeypatch.setattr(ObjectStore, "put_bytes", note)
    assert check_connection("s3", monitoring.trainer_probe(lambda: s3_settings)).works
    assert written[0].startswith(INBOX_PREFIX)
