"""The sensor that waits for a release of a recommender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

from airflow_provider_recsys.hooks.recommender import RecommenderVectorsHook
from airflow_provider_recsys.triggers.release import (
    ERROR,
    TIMEOUT,
    ReleaseCondition,
    ReleaseTrigger,
    document,
)
from recsys_dag.assets import RECOMMENDER
from recsys_dag.connections import PG_CONN_ID

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReleaseSensor(BaseSensorOperator):
    """Waits until a release is live that meets all conditions; returns its id and time.

    It looks at what readers see, so it also notices promotions and rollbacks by the command line
    and the releases page, for which the asset event comes minutes later.

    Args:
        other_than: id of a release that is not waited for, such as the last one that was used;
            templated.
        promoted_after: time in ISO 8601, with its offset; templated, such as
            ``{{ dag_run.run_after.isoformat() }}``.
        max_age: time since its promotion at most.
        vectors_conn_id: the Connection of the recommender's database; a reader's account is enough.
        recommender: name of the recommender.
        deferrable: wait in the triggerer, without a worker.
        max_poll_interval: seconds between two looks at most. The first wait is `poke_interval`; it
            doubles with each look of a deferrable sensor.
    """

    template_fields: Sequence[str] = ("other_than", "promoted_after")

    def __init__(
        self,
        *,
        other_than: str | None = None,
        promoted_after: str | None = None,
        max_age: timedelta | None = None,
        vectors_conn_id: str = PG_CONN_ID,
        recommender: str = RECOMMENDER,
        deferrable: bool = True,
        max_poll_interval: float = 300.0,
        **options: Any,
    ) -> None:
        super().__init__(**{"poke_interval": 30.0, **options})
        self.other_than = other_than
        self.promoted_after = promoted_after
        self.max_age = max_age
        self.vectors_conn_id = vectors_conn_id
        self.recommender = recommender
        self.deferrable = deferrable
        self.max_poll_interval = max_poll_interval

    def poke(self, context: Context) -> PokeReturnValue:
        """Looks once."""
        live = RecommenderVectorsHook(self.vectors_conn_id, self.recommender).live_release()
        if live is None or not self._condition().is_met(live, datetime.now(UTC)):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=document(live))

    def execute(self, context: Context) -> Any:
        """Looks once, then waits, in the triggerer if it is deferrable."""
        if not self.deferrable:
            return super().execute(context)
        looked = self.poke(context)
        if looked.is_done:
            return looked.xcom_value
        end = datetime.now(UTC) + timedelta(seconds=self.timeout)
        self.defer(
            trigger=ReleaseTrigger(
                self.vectors_conn_id,
                asdict(self._condition()),
                end.isoformat(),
                self.poke_interval,
                self.max_poll_interval,
                self.recommender,
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Returns the release that the trigger has found, or fails.

        Raises:
            AirflowSensorTimeout: no such release was live in time.
            AirflowFailException: the database cannot be read; a retry cannot repair that.
        """
        if event["status"] == TIMEOUT:
            message = f"no such release was live within {self.timeout:.0f} s"
            raise AirflowSkipException(message) if self.soft_fail else AirflowSensorTimeout(message)
        if event["status"] == ERROR:
            raise AirflowFailException(event["message"])
        found: dict[str, Any] = event["release"]
        return found

    def _condition(self) -> ReleaseCondition:
        return ReleaseCondition(
            other_than=self.other_than or None,
            promoted_after=_time(self.promoted_after),
            max_age_s=None if self.max_age is None else self.max_age.total_seconds(),
        )


def _time(text: str | None) -> str | None:
    """Checks a time, which a template may have made.

    Raises:
        AirflowFailException: it is none, or has no offset.
    """
    if not text:
        return None
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise AirflowFailException(
        f"promoted_after is invalid; found: {text!r}; expected: a time with its offset, such as "
        "2026-11-28T06:00:00+00:00"
    )
