"""Trigger of the asset watcher: fires when the dataset's md5 changes.

An md5 is recorded as seen only after its event is in Airflow's database, so no event is lost if the
triggerer dies in between: the next one fires it again. Airflow confirms this to the producer of a
shared stream, which is why the trigger is one, although nothing else shares its stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer
from airflow.utils.log.logging_mixin import LoggingMixin

from recsys.errors import RecsysError
from recsys_dag.masking import SOURCE_CONN_ID

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

S3_CONN_ID: Final = "recsys_s3"
_SEEN: Final = "md5"
_NO_STORE: Final = "DatasetMd5Trigger has no asset state store; use it in an AssetWatcher"


class ConnectionIds(NamedTuple):
    """The Connections with which a source is read.

    Attributes:
        s3: for an s3 source.
        source: for a source on a web server.
    """

    s3: str = S3_CONN_ID
    source: str = SOURCE_CONN_ID

    def arguments(self) -> dict[str, str]:
        """Returns the arguments of a trigger; none for the default Connections, as before."""
        named = {"s3_conn_id": self.s3, "source_conn_id": self.source}
        return {} if self == ConnectionIds() else named


@dataclass
class Look:
    """An md5 that was read.

    Attributes:
        md5: the md5.
        store: where it is recorded as seen; set by the trigger that fires its event.
    """

    md5: str
    store: AssetStateStoreAccessors | None = None


class Md5Looks(LoggingMixin, SharedStreamProducer):
    """Polls an md5; records those whose events are stored.

    Args:
        source: the dataset's zip.
        interval: seconds between two polls.
        connections: the Connections with which the source is read.
    """

    def __init__(self, source: str, interval: float, connections: ConnectionIds) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no types
        self.source = source
        self.interval = interval
        self.connections = connections

    async def open_stream(self) -> AsyncIterator[tuple[Look, Look]]:
        """Yields each md5 that was read, forever."""
        while True:
            md5 = await self.read()
            if md5 is not None:
                look = Look(md5)
                yield look, look
            await asyncio.sleep(self.interval)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Records the md5s whose events, if any, are in Airflow's database."""
        for look, outcome in batch:
            if outcome.is_clean and look.store is not None:
                await look.store.aset(_SEEN, look.md5)

    async def read(self) -> str | None:
        """Reads the md5; None if the source or its Connection cannot be read now."""
        from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

        try:
            return await asyncio.to_thread(_read_md5, self.source, self.connections)
        # PermissionError: Airflow denies access to the Connection.
        except (RecsysError, AirflowException, AirflowRuntimeError, PermissionError) as error:
            # The weekly run reports an unreachable source; the watcher tries again later.
            self.log.warning("could not read the md5 of the dataset: %s", error)
            return None


class DatasetMd5Trigger(BaseEventTrigger):
    """Polls ``<source>.md5`` and fires an event for each change, at least once.

    Args:
        source: the dataset's zip (http, https, s3 or file), or several mirrors.
        interval: seconds between two polls.
        s3_conn_id: the Connection for an s3 source.
        source_conn_id: the Connection for a source on a web server.
    """

    def __init__(
        self,
        source: str,
        interval: float = 300.0,
        s3_conn_id: str = S3_CONN_ID,
        source_conn_id: str = SOURCE_CONN_ID,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no types
        self.source = source
        self.interval = interval
        self.connections = ConnectionIds(s3_conn_id, source_conn_id)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns the class path and the arguments from which Airflow recreates the trigger."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {
            "source": self.source,
            "interval": self.interval,
            **self.connections.arguments(),
        }

    def shared_stream_key(self) -> Hashable:
        """Identifies the stream: one for each source."""
        return type(self).__qualname__, self.source, self.connections

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Md5Looks:
        """Makes the producer of the stream from the trigger's arguments."""
        trigger = cls(**kwargs)
        return Md5Looks(trigger.source, trigger.interval, trigger.connections)

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Look]
    ) -> AsyncIterator[TriggerEvent]:
        """Yields an event for each md5 that is not recorded as seen."""
        if self.asset_state_store is None:
            raise RuntimeError(_NO_STORE)
        async for look in shared_stream:
            if look.md5 != await self.asset_state_store.aget(_SEEN):
                look.store = self.asset_state_store
                yield _event(look)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Does the same without confirmations: an md5 is recorded one poll after its event."""
        if self.asset_state_store is None:
            raise RuntimeError(_NO_STORE)
        looks = Md5Looks(self.source, self.interval, self.connections)
        fired: str | None = None
        async for look, _ in looks.open_stream():
            if look.md5 == fired:
                await self.asset_state_store.aset(_SEEN, look.md5)
                fired = None
            elif look.md5 != await self.asset_state_store.aget(_SEEN):
                fired = look.md5
                yield _event(look)


def _event(look: Look) -> TriggerEvent:
    return TriggerEvent({"md5": look.md5})  # type: ignore[no-untyped-call]  # Airflow's has no types


def _read_md5(source: str, connections: ConnectionIds) -> str:
    from recsys.dataset import needs_s3, read_source_md5
    from recsys_dag.connections import s3_settings
    from recsys_dag.source_connection import fetch_settings

    s3 = s3_settings(connections.s3) if needs_s3(source) else None
    return read_source_md5(source, s3, fetch_settings(source, connections.source))
