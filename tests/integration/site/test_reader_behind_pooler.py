"""The release reader behind PgBouncer in transaction mode."""

from __future__ import annotations

import logging

import psycopg

from recsys.releases import promote_release
from tests.actors import an_actor
from tests.integration.site.readers import make_reader, s3_client, wait_for, watching
from tests.pooler import pooler


def test_a_reader_behind_a_pooler_polls_and_subscribes_no_session_of_others(
    services, releases, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "release_reader")
    first, second = releases.candidate(1), releases.candidate(2)
    promote_release(services, first, actor=an_actor())
    # One session of the server: all clients get the same.
    dsn = services.postgres.dsn.get_secret_value()
    with pooler(dsn, "transaction", pool_size=1) as through:
        # The reader's statements are not prepared, even if its connections prepare all others.
        reader = make_reader(services, s3_client(services), tmp_path, through, prepare_threshold=0)
        with watching(reader):
            wait_for(lambda: reader.loaded is not None and reader.loaded.release_id == first)
            promote_release(services, second, actor=an_actor("Ada"), override=True)
            wait_for(lambda: reader.live.release_id == second)
        with psycopg.connect(through, autocommit=True) as other:
            for found in ("pg_listening_channels()", "pg_prepared_statements"):
                assert other.execute(f"select * from {found}").fetchall() == []
    assert reader.problem is None
    assert len([each for each in caplog.messages if "a connection pooler is between" in each]) == 1
