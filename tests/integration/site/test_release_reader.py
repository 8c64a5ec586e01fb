"""The release reader, with the role of the site."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import boto3
import psycopg
import pytest

from recsys.contract import MODEL_FILE, PUBLIC_TABLES, release_key
from recsys.releases import promote_release, roll_back
from release_reader import ReleaseReader, TornModelError
from tests.actors import an_actor
from tests.release_maker import Releases


@pytest.fixture
def reader(services, tmp_path) -> ReleaseReader[bytes]:
    @contextmanager
    def connect():
        with psycopg.connect(services.postgres.dsn.get_secret_value()) as conn:
            conn.execute("set role recsys_site")
            conn.commit()
            yield conn

    s3 = boto3.client(
        "s3",
        endpoint_url=services.s3.endpoint,
        region_name=services.s3.region,
        aws_access_key_id=services.s3.access_key.get_secret_value(),
        aws_secret_access_key=services.s3.secret_key.get_secret_value(),
    )
    return ReleaseReader(
        connect, s3, services.s3.bucket, tmp_path, lambda path, release: path.read_bytes()
    )


def promote(services, release_id: str) -> None:
    Releases(services).judge(release_id)
    promote_release(services, release_id, actor=an_actor())


def test_raises_before_the_first_promotion(services, releases, reader):
    releases.begin(1)
    with pytest.raises(LookupError, match="no release has been promoted yet"):
        _ = reader.live


def test_model_and_tables_belong_to_one_release_and_change_together(services, releases, reader):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    before = reader.live
    assert (before.release_id, before.model) == (first, releases.model_bytes(1))
    promote(services, second)
    assert reader.live is before, "only refresh changes it"
    assert reader.refresh()
    assert not reader.refresh()
    assert (reader.live.release_id, reader.live.model) == (second, releases.model_bytes(2))
    with psycopg.connect(services.postgres.dsn.get_secret_value()) as conn:
        conn.execute("set role recsys_site")
        for release in (before, reader.live):
            assert set(release.tables) == {table.name for table in PUBLIC_TABLES}
            for table in release.tables.values():
                assert conn.execute(f"select 1 from {table} limit 1").fetchone() == (1,)


def test_only_the_model_in_use_is_kept_on_disk(services, releases, reader, tmp_path):
    for number in (1, 2, 3):
        promote(services, releases.candidate(number))
        reader.refresh()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [releases.model_bytes(3)]


def test_rejects_a_damaged_model_and_keeps_the_previous_release(services, releases, reader):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    assert reader.refresh()
    promote(services, second)
    services.store.put_bytes(release_key(second, MODEL_FILE), b"damaged")
    with pytest.raises(TornModelError, match="expected"):
        reader.refresh()
    assert reader.live.release_id == first


def test_watch_loads_a_promoted_release_at_once(services, releases, reader):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    stop = threading.Event()
    watcher = threading.Thread(target=reader.watch, args=(stop, 600.0))
    watcher.start()
    try:
        _wait_for(reader, first)
        promote(services, second)
        _wait_for(reader, second)
        roll_back(services, actor=an_actor())
        _wait_for(reader, first)
    finally:
        stop.set()
        # A last promotion wakes the watcher, which would otherwise wait ten minutes.
        promote(services, second)
        watcher.join(timeout=300)
    assert not watcher.is_alive()


def _wait_for(reader: ReleaseReader[bytes], release_id: str) -> None:
    """Waits much less than the interval of the watcher."""
    end = time.monotonic() + 120
    while reader.live.release_id != release_id:
        assert time.monotonic() < end, "the notification was not received"
        time.sleep(0.02)
