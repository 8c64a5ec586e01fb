"""The asset watcher's trigger: one event for each change of the dataset's md5."""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recsys.object_store import ObjectStore, S3Settings

if TYPE_CHECKING:
    from recsys_dag.triggers import DatasetMd5Trigger

ONE, TWO = "1" * 32, "2" * 32
HANGS_UP = 0
"""In the place of an HTTP status: no answer at all."""


@dataclass
class StateStore:
    """Stands for the asset's state store, which outlives the triggerer."""

    kept: dict[str, Any] = field(default_factory=dict)

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.kept.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = value


class Source(ThreadingHTTPServer):
    """A dataset's source that counts how often its md5 was looked at."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.md5 = ONE
        self.status = 200
        self.looks = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/ml.zip"


class _Handler(BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        self.server.looks += 1
        if self.server.status == HANGS_UP:
            return
        body = f"MD5 (ml.zip) = {self.server.md5}\n".encode()
        self.send_response(self.server.status if self.path == "/ml.zip.md5" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def source() -> Iterator[Source]:
    with Source() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield server
        server.shutdown()


@dataclass
class Watched:
    """A trigger at work."""

    source: Source
    events: list[str] = field(default_factory=list)

    async def looks(self, more: int) -> None:
        """Waits until the trigger has acted on so many looks that began after this call."""
        # One may be at work now, and the last one counted has not been acted on yet.
        enough = self.source.looks + more + 2
        async with asyncio.timeout(30):
            while self.source.looks < enough:
                await asyncio.sleep(0.005)


def made(source: str, store: Any) -> DatasetMd5Trigger:
    """A trigger as a triggerer makes it."""
    from recsys_dag.triggers import DatasetMd5Trigger

    trigger = DatasetMd5Trigger(source, interval=0.01)
    trigger.asset_state_store = store
    return trigger


@asynccontextmanager
async def watching(
    source: Source, store: StateStore, stores_events: bool = True
) -> AsyncIterator[Watched]:
    """Runs a trigger as a triggerer does that was started just now.

    Args:
        source: what the trigger polls.
        store: the asset's state.
        stores_events: whether Airflow's database takes the events. If not, the triggerer is as
            good as dead from the first event on.
    """
    watched = Watched(source)
    async with triggerer(made(source.url, store), watched.events, stores_events):
        yield watched


@asynccontextmanager
async def triggerer(
    trigger: DatasetMd5Trigger, events: list[str], stores_events: bool = True
) -> AsyncIterator[None]:
    """Does with Airflow's own manager what the triggerer does with a trigger of an asset."""
    from airflow.triggers.shared_stream import SharedStreamManager

    manager = SharedStreamManager()
    key, number = trigger.shared_stream_key(), 7

    async def run() -> None:
        stream = manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        async for event in trigger.filter_shared_stream(stream):
            position = manager.bind_pending_event(trigger_id=number, key=key)
            events.append(event.payload["md5"])
            if stores_events and position is not None:
                manager.confirm_persisted([position])

    task = asyncio.create_task(run())
    try:
        yield
        assert not task.done(), "a trigger never ends"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await manager.stop_all()


def test_it_fires_once_for_each_md5_that_it_has_not_seen(source: Source) -> None:
    async def story() -> None:
        async with watching(source, StateStore()) as watched:
            await watched.looks(3)
            assert watched.events == [ONE]
            source.md5 = TWO
            await watched.looks(3)
            assert watched.events == [ONE, TWO]
            source.md5 = ONE
            await watched.looks(3)
            assert watched.events == [ONE, TWO, ONE]

    asyncio.run(story())


def test_it_remembers_through_a_restart(source: Source) -> None:
    async def story() -> None:
        store = StateStore()
        async with watching(source, store) as watched:
            await watched.looks(1)
            assert watched.events == [ONE]
        assert store.kept == {"md5": ONE}
        async with watching(source, store) as watched:
            await watched.looks(3)
            assert watched.events == []
            source.md5 = TWO
            await watched.looks(1)
            assert watched.events == [TWO]

    asyncio.run(story())


def test_a_change_while_nobody_watched_is_noticed(source: Source) -> None:
    async def story() -> None:
        async with watching(source, StateStore({"md5": TWO})) as watched:
            await watched.looks(1)
            assert watched.events == [ONE]

    asyncio.run(story())


def test_an_event_that_was_not_taken_over_comes_again(source: Source) -> None:
    """Killed between the event and its record: at least once, never lost."""

    async def story() -> None:
        store = StateStore()
        async with watching(source, store, stores_events=False) as watched:
            await watched.looks(2)
            assert set(watched.events) == {ONE}
        assert store.kept == {}
        async with watching(source, store) as watched:
            await watched.looks(1)
            assert watched.events == [ONE]

    asyncio.run(story())


@pytest.mark.parametrize("status", [HANGS_UP, 404, 403, 500, 503])
def test_it_survives_a_source_that_does_not_answer_and_takes_it_for_no_change(
    source: Source, status: int
) -> None:
    async def story() -> None:
        async with watching(source, StateStore()) as watched:
            await watched.looks(1)
            source.status = status
            await watched.looks(3)
            assert watched.events == [ONE]
            source.status, source.md5 = 200, TWO
            await watched.looks(1)
            assert watched.events == [ONE, TWO]

    asyncio.run(story())


@pytest.mark.parametrize(
    "md5", ["", "<html>", "not an md5", "'; drop table releases; --", "1" * 31]
)
def test_what_is_no_md5_is_no_event(source: Source, md5: str) -> None:
    async def story() -> None:
        source.md5 = md5
        store = StateStore()
        async with watching(source, store) as watched:
            await watched.looks(3)
            assert watched.events == []
        assert store.kept == {}

    asyncio.run(story())


def test_an_md5_that_appears_later_is_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        async def first_event() -> Any:
            return await anext(aiter(made(str(tmp_path / "ml.zip"), StateStore()).run()))

        first = asyncio.create_task(first_event())
        await asyncio.sleep(0.1)
        assert not first.done()
        (tmp_path / "ml.zip.md5").write_text(f"{ONE}  ml.zip\n")
        assert (await asyncio.wait_for(first, 30)).payload == {"md5": ONE}

    asyncio.run(story())


def test_the_triggerer_can_make_it_again() -> None:
    from recsys_dag.triggers import DatasetMd5Trigger

    path, given = DatasetMd5Trigger("https://example.org/ml.zip", 7.5).serialize()
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**given)
    assert type(again) is DatasetMd5Trigger
    assert (again.source, again.interval) == ("https://example.org/ml.zip", 7.5)
    assert again.serialize() == (path, given)


def test_two_watchers_of_one_source_are_one_trigger_and_of_two_are_two() -> None:
    """Airflow tells triggers of assets apart by a hash of what they were made with."""
    from recsys_dag.triggers import DatasetMd5Trigger

    def hash_of(trigger: DatasetMd5Trigger) -> int:
        return DatasetMd5Trigger.hash(*trigger.serialize())

    one = DatasetMd5Trigger("https://example.org/ml.zip")
    assert hash_of(one) == hash_of(DatasetMd5Trigger("https://example.org/ml.zip"))
    assert hash_of(one) != hash_of(DatasetMd5Trigger("https://example.org/other.zip"))


def test_without_an_asset_it_says_so() -> None:
    async def story() -> None:
        from recsys_dag.triggers import DatasetMd5Trigger

        with pytest.raises(RuntimeError, match="use it in an AssetWatcher"):
            await anext(DatasetMd5Trigger("https://example.org/ml.zip").run())

    asyncio.run(story())


def test_without_airflows_confirmations_an_md5_is_recorded_one_poll_later(source: Source) -> None:
    async def story() -> None:
        store = StateStore()
        stream = made(source.url, store).run()
        assert (await anext(stream)).payload == {"md5": ONE}
        following = asyncio.create_task(anext(stream))
        async with asyncio.timeout(30):
            while store.kept != {"md5": ONE}:
                await asyncio.sleep(0.005)
        source.md5 = TWO
        assert (await asyncio.wait_for(following, 30)).payload == {"md5": TWO}
        assert store.kept == {"md5": ONE}

    asyncio.run(story())


def test_a_source_in_s3_is_watched_with_the_connection(
    s3_settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of the md5's object is one event; a missing object is none."""
    store = ObjectStore.connect(s3_settings)
    keys = s3_settings.credentials()
    connection = {
        "conn_type": "aws",
        "login": keys["AWS_ACCESS_KEY_ID"],
        "password": keys["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": s3_settings.endpoint, "bucket_name": "another-bucket"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_S3", json.dumps(connection))

    async def until(events: list[str], expected: list[str]) -> None:
        async with asyncio.timeout(60):
            while events != expected:
                await asyncio.sleep(0.01)

    async def story() -> None:
        state, events = StateStore(), list[str]()
        async with triggerer(made(f"s3://{s3_settings.bucket}/ml.zip", state), events):
            for number, md5 in enumerate((ONE, TWO), start=1):
                store.put_bytes("ml.zip.md5", f"{md5}  ml.zip\n".encode())
                await until(events, [ONE, TWO][:number])

    asyncio.run(story())


def test_an_s3_source_without_a_connection_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        from recsys_dag.triggers import ConnectionIds, Md5Looks

        assert await Md5Looks("s3://bucket/ml.zip", 1, ConnectionIds()).read() is None

    monkeypatch.setenv("AIRFLOW_CONN_RECSYS_S3", "aws://")
    asyncio.run(story())
