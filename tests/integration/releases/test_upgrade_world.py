"""An installation of commit f4c3c4a goes on under this code, without a pause for its readers.

The code of that commit made the folder f4c3c4a: ``database.sql`` is a dump of its ledger
(migrations 1 and 2) and vectors, ``bucket.json`` its objects. Release 1 was promoted, then release
2, then a rollback to 1, then 2 again; release 3 was rejected. Every later migration runs on it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from recsys import ledger, monitoring
from recsys.contract import OWNER_KEY, PUBLIC_TABLES, SITE_ROLE, table_name
from recsys.database import PostgresSettings
from recsys.errors import LedgerError
from recsys.ledger import State, migrations
from recsys.object_store import S3Settings
from recsys.releases import (
    RetentionSettings,
    promote_release,
    recover_promotion,
    retire_old_releases,
    roll_back,
)
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos import invariants
from tests.chaos.processes import server_settings
from tests.chaos.readers import Reader
from tests.release_maker import Releases

WORLD = Path(__file__).with_name("f4c3c4a")
FIRST, CHAMPION, REJECTED = "c4ca4238-7215fe2a", "c81e728d-dc8b2c69", "eccbc87e-cdb84cdb"


@pytest.fixture
def old(postgres_dsn: str, s3_settings: S3Settings) -> Services:
    """The world as the code of that commit left it."""
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        if conn.execute("select from pg_roles where rolname = %s", (SITE_ROLE,)).fetchone() is None:
            conn.execute(sql.SQL("create role {}").format(sql.Identifier(SITE_ROLE)))
        conn.execute(sql.SQL((WORLD / "database.sql").read_text()))  # type: ignore[arg-type]
        # Migration 1 of that commit replaced the path; a dump does not contain it.
        conn.execute(
            sql.SQL('alter database {} set search_path = "$user", recsys_live, public').format(
                sql.Identifier(postgres_dsn.rpartition("/")[2])
            )
        )
    services = Services(postgres=PostgresSettings(dsn=SecretStr(postgres_dsn)), s3=s3_settings)
    for key, stored in json.loads((WORLD / "bucket.json").read_text()).items():
        services.store.put_bytes(key, stored["content"].encode(), stored["metadata"])
    return services


def owners(services: Services, numbers: dict[int, str]) -> dict[str, str]:
    """Returns the release of each vector and model by its content."""
    known = {f"model {number}": release_id for number, release_id in numbers.items()}
    with psycopg.connect(services.postgres.dsn.get_secret_value()) as conn:
        for release_id in numbers.values():
            for table in PUBLIC_TABLES:
                query = sql.SQL("select vector::text from recsys.{}").format(
                    sql.Identifier(table_name(table.name, release_id))
                )
                known |= {text: release_id for (text,) in conn.execute(query)}
    return known


@contextmanager
def reading(services: Services, known: dict[str, str]) -> Iterator[Reader]:
    """Reads all the time, as a site that connected before the upgrade."""
    settings = json.loads(server_settings(services))
    reader, stop = Reader(settings["dsn"], settings["s3"], known), threading.Event()
    thread = threading.Thread(target=reader.run, args=(stop,))
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join()
        reader.conn.close()


def test_an_old_installation_goes_on(old: Services) -> None:
    releases = Releases(old)
    known = owners(old, {1: FIRST, 2: CHAMPION})
    with reading(old, known) as reader:
        assert any("older than this code" in message for message in monitoring.problems(old))
        recover_promotion(old, actor=an_actor())
        assert monitoring.problems(old) == []
        assert invariants.recovered(old) == CHAMPION
        assert old.store.head(OWNER_KEY) is not None

        status = monitoring.read_status(old)
        assert status["champion"]["release_id"] == CHAMPION
        assert status["previous_champion"]["release_id"] == FIRST
        assert status["public_copies_in_order"]
        why = monitoring.why(old)
        assert why["decision"]["accepted"]
        assert ("ada by manual__2026-09-13", "approved in Airflow") in {
            (event["actor"], event["reason"]) for event in why["history"]
        }

        with old.connect() as conn:
            champion = ledger.champion(conn)
        assert champion is not None
        assert champion.features_prefix == f"features/{champion.dataset_md5}/", "the old place"
        assert roll_back(old, actor=an_actor()).to_release == FIRST
        assert invariants.recovered(old) == FIRST
        roll_back(old, CHAMPION, actor=an_actor())
        for number, retired in ((4, {REJECTED, FIRST}), (5, {CHAMPION})):
            release_id = releases.candidate(number)
            reader.owners.update(owners(old, {number: release_id}))
            promote_release(old, release_id, actor=an_actor())
            assert invariants.recovered(old) == release_id
            settings = RetentionSettings(keep_releases=0)
            done = retire_old_releases(old, settings, actor=an_actor())
            assert (set(done.retired), done.skipped) == (retired, {})
            assert invariants.recovered(old) == release_id
        assert monitoring.problems(old) == []
    assert reader.errors == []
    assert reader.reads.total() > 0
    with old.connect() as conn:
        states = {r.release_id: r.state for r in ledger.all_releases(conn)}
    assert {states[r] for r in (FIRST, CHAMPION, REJECTED)} == {State.RETIRED}


def test_a_rejected_old_release_can_be_promoted_by_a_person(old: Services) -> None:
    recover_promotion(old, actor=an_actor())
    person = an_actor("Ada Lovelace", "better for the newest movies")
    promote_release(old, REJECTED, actor=person, override=True)
    assert invariants.recovered(old) == REJECTED
    assert monitoring.problems(old) == []


def test_old_code_refuses_an_upgraded_ledger_and_changes_nothing(
    old: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows migrations 1 and 2; the comparison has been the same since then."""
    recover_promotion(old, actor=an_actor())
    with old.connect() as conn:
        before = ledger.history(conn)
        known = migrations.available()
        monkeypatch.setattr(migrations, "available", lambda: known[:2])
        with pytest.raises(LedgerError, match="newer code"):
            ledger.check_current(conn)
        with pytest.raises(LedgerError, match="newer code"):
            ledger.prepare(conn)
        assert ledger.history(conn) == before
    with pytest.raises(LedgerError, match="newer code"):
        roll_back(old, FIRST, actor=an_actor())
