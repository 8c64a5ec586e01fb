"""The trigger that waits for a release of a recommender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_recsys.hooks.recommender import RecommenderVectorsHook
from recsys_dag.assets import RECOMMENDER

if TYPE_CHECKING:
    from recsys.ledger import LiveRelease

READY: Final = "ready"
TIMEOUT: Final = "timeout"
ERROR: Final = "error"


@dataclass(frozen=True)
class ReleaseCondition:
    """Which live release is waited for; without any field, the first one.

    Attributes:
        other_than: id of a release that is not waited for, such as the last one that was used.
        promoted_after: time in ISO 8601, with its offset; the release must be newer.
        max_age_s: seconds since its promotion at most.
    """

    other_than: str | None = None
    promoted_after: str | None = None
    max_age_s: float | None = None

    def is_met(self, live: LiveRelease | None, now: datetime) -> bool:
        """Whether the live release is one that is waited for."""
        if live is None or live.release_id == self.other_than:
            return False
        if self.promoted_after and live.promoted_at <= datetime.fromisoformat(self.promoted_after):
            return False
        return self.max_age_s is None or now - live.promoted_at <= timedelta(seconds=self.max_age_s)


class ReleaseTrigger(BaseTrigger):
    """Polls the live release until it meets a condition, or until an end.

    A triggerer that starts again makes the trigger from the same arguments. Nothing is lost: it
    reads the state, and its end is a time, not a duration.

    Args:
        vectors_conn_id: the Connection of the database.
        condition: fields of a `ReleaseCondition`.
        end: time in ISO 8601 after which the trigger gives up; None: never.
        poll_interval: seconds before the second look; it doubles with each look.
        max_poll_interval: seconds between two looks at most.
        recommender: name of the recommender.
    """

    def __init__(
        self,
        vectors_conn_id: str,
        condition: dict[str, Any],
        end: str | None = None,
        poll_interval: float = 30.0,
        max_poll_interval: float = 300.0,
        recommender: str = RECOMMENDER,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base has no types
        self.vectors_conn_id = vectors_conn_id
        self.condition = condition
        self.end = end
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.recommender = recommender

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns the class path and the arguments from which Airflow recreates the trigger."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "vectors_conn_id": self.vectors_conn_id,
            "condition": self.condition,
            "end": self.end,
            "poll_interval": self.poll_interval,
            "max_poll_interval": self.max_poll_interval,
            "recommender": self.recommender,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: the release, the end, or an error that no later look can repair."""
        from recsys.errors import PermanentError, RecsysError

        condition = ReleaseCondition(**self.condition)
        end = datetime.fromisoformat(self.end) if self.end else None
        interval = self.poll_interval
        hook = RecommenderVectorsHook(self.vectors_conn_id, self.recommender)
        while True:
            try:
                live = await asyncio.to_thread(hook.live_release)
            except PermanentError as error:
                yield _event(ERROR, message=str(error))
                return
            except RecsysError as error:
                self.log.warning("the live release cannot be read now: %s", error)
            else:
                if live is not None and condition.is_met(live, datetime.now(UTC)):
                    yield _event(READY, release=document(live))
                    return
            now = datetime.now(UTC)
            if end is not None and now >= end:
                yield _event(TIMEOUT)
                return
            left = (end - now).total_seconds() if end else interval
            await asyncio.sleep(min(interval, left))
            interval = min(2 * interval, self.max_poll_interval)


def document(live: LiveRelease) -> dict[str, Any]:
    """Returns a release as a JSON document."""
    return {**asdict(live), "promoted_at": live.promoted_at.isoformat()}


def _event(status: str, **fields: Any) -> TriggerEvent:
    return TriggerEvent({"status": status, **fields})  # type: ignore[no-untyped-call]  # no types
