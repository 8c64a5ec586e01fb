"""Trigger of the asset watcher: fires when the dataset's md5 changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from recsys.errors import RecsysError


class DatasetMd5Trigger(BaseEventTrigger):
    """Polls ``<source>.md5`` and fires an event for each change, at least once.

    The last md5 is stored in the asset's state store after the event was emitted. A restart of the
    triggerer therefore does not fire again.

    Args:
        source: the dataset's zip (http, https or file). An s3 source is not polled: the trigger
            has no Connection to read it with, so only the weekly run notices a change.
        interval: seconds between two polls.
    """

    def __init__(self, source: str, interval: float = 300.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no types
        self.source = source
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns the class path and the arguments from which Airflow recreates the trigger."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"source": self.source, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields an event with the new md5 whenever it differs from the stored one."""
        from recsys.dataset import read_source_md5

        store = self.asset_state_store
        if store is None:
            raise RuntimeError(
                "DatasetMd5Trigger has no asset state store; use it in an AssetWatcher"
            )
        while True:
            try:
                md5 = await asyncio.to_thread(read_source_md5, self.source)
            except RecsysError as error:
                # The weekly run reports an unreachable source; the watcher tries again later.
                self.log.warning("could not read the md5 of the dataset: %s", error)
            else:
                if md5 != await store.aget("md5"):
                    yield TriggerEvent({"md5": md5})  # type: ignore[no-untyped-call]  # no types
                    await store.aset("md5", md5)
            await asyncio.sleep(self.interval)
