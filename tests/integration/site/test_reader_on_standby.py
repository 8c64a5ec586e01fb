"""The release reader on a streaming standby, where LISTEN is not possible."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from recsys import database
from recsys.database import PostgresSettings
from recsys.errors import ServiceUnavailableError
from recsys.releases import promote_release
from recsys.services import Services
from release_reader import ReleaseReader
from tests.actors import an_actor
from tests.conftest import fresh_database
from tests.integration.site.readers import make_reader, s3_client, wait_for, watching
from tests.release_maker import Releases
from tests.standby import Primary, Standby, primary_and_standby


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Primary, Standby]]:
    # Not tmp_path, which the account of PostgreSQL can't reach.
    with (
        tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder,
        primary_and_standby(Path(folder)) as both,
    ):
        yield both


def test_the_pipeline_on_a_standby_is_told_so(servers):
    _, standby = servers
    with (
        pytest.raises(ServiceUnavailableError, match="is a standby") as refused,
        database.connect(PostgresSettings(dsn=SecretStr(standby.dsn("postgres")))) as conn,
    ):
        conn.execute("create table new (a int)")
    assert "target_session_attrs=read-write" in refused.value.hint


def test_a_reader_on_a_standby_polls_and_always_has_a_pair(servers, s3_settings, tmp_path, caplog):
    primary, standby = servers
    caplog.set_level(logging.INFO, "release_reader")
    with fresh_database(primary) as dsn:
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3_settings)
        releases = Releases(services)
        first, second = releases.candidate(1), releases.candidate(2)
        promote_release(services, first, actor=an_actor())
        there = standby.dsn(dsn.rpartition("/")[2])
        reader = make_reader(
            services, s3_client(services), tmp_path, there, options="-c role=recsys_site"
        )
        with (
            psycopg.connect(standby.dsn("postgres"), autocommit=True) as admin,
            watching(reader),
        ):
            wait_for(lambda: reader.loaded is not None and reader.loaded.release_id == first)
            # A standby that lags behind shows the previous pair as a whole.
            admin.execute("select pg_wal_replay_pause()")
            promote_release(services, second, actor=an_actor("Ada"), override=True)
            assert not reader.refresh()
            check_pair(reader, there, releases.model_bytes(1), first)
            admin.execute("select pg_wal_replay_resume()")
            wait_for(lambda: reader.live.release_id == second)
            check_pair(reader, there, releases.model_bytes(2), second)
            assert reader.problem is None
            polled = [each for each in caplog.messages if "polled" in each]
            assert len(polled) == 1, "once, not at each check"
            assert "LISTEN" in polled[0]
            # After a failover, promotions are announced again.
            admin.execute("select pg_promote()")
            wait_for(lambda: "promotions are announced now" in caplog.messages)


def check_pair(reader: ReleaseReader[bytes], dsn: str, model: bytes, release_id: str) -> None:
    live = reader.live
    assert (live.release_id, live.model) == (release_id, model)
    with psycopg.connect(dsn) as conn:
        for table in live.tables.values():
            assert conn.execute(f"select 1 from {table} limit 1").fetchone() == (1,)
