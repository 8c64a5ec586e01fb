"""The asset watcher's trigger: an event whenever the dataset's md5 changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from recsys.errors import RecsysError


class DatasetMd5Trigger(BaseEventTrigger):
    """Polls ``<source>.md5`` and fires once for each change of it.

    The last md5 is remembered in the asset's state store, so that a restart of the triggerer
    does not fire again. It is remembered after the event was handed over: at least once.

    Args:
        source: the dataset's zip (http, https or file; an s3 source is looked at by the weekly
            run alone, because a triggerer reads no Connection between runs).
        interval: seconds between two looks.
    """

    def __init__(self, source: str, interval: float = 300.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no types
        self.source = source
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes this trigger again."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"source": self.source, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields an event with the new md5 whenever it differs from the one remembered."""
        from recsys.dataset import read_source_md5

        store = self.asset_state_store
        if store is None:
            raise RuntimeError("this trigger watches an asset; nothing else can run it")
        while True:
            try:
                md5 = await asyncio.to_thread(read_source_md5, self.source)
            except RecsysError as error:
                # The weekly run reports a source that stays away; a watcher only waits.
                self.log.warning("could not read the md5 of the dataset: %s", error)
            else:
                if md5 != await store.aget("md5"):
                    yield TriggerEvent({"md5": md5})  # type: ignore[no-untyped-call]  # likewise
                    await store.aset("md5", md5)
            await asyncio.sleep(self.interval)
