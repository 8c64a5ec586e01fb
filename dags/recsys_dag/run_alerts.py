"""Callbacks that report runs which failed or are late.

What is recorded once is an attempt of a run: a run that was cleared can fail again. The DAG that
runs every five minutes reports each failing task once a day.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from recsys import alerts
from recsys.ledger import Action
from recsys_dag import descriptions, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from recsys.recommenders import Description

log = logging.getLogger(__name__)

CHECK_DAG: Final = "recsys_check_connections"
"""The DAG that belongs to no recommender: the channels of the first one report its failures."""
_HAS_ITS_OWN_ALERT: Final = "check_freshness"
"""Its failure is the alert `stale`, which is sent once until a run succeeds."""


def alert_run_failed(context: Context) -> None:
    """Failure callback of a DAG: records the failure in the history and sends alerts at once."""
    _alert_run(Action.RUN_FAILED, context, str(context.get("reason") or "see its failed tasks"))


async def alert_run_late(**kwargs: Any) -> None:
    """Deadline callback of a DAG: records that the run is late and sends alerts at once."""
    context = kwargs.get("context") or {}
    await asyncio.to_thread(_alert_run, Action.RUN_LATE, context, "its deadline has passed")


class RunReport(NamedTuple):
    """What a callback's context says about a run.

    Attributes:
        dag_id: the DAG.
        run_id: the run's id in the ledger; ids of other DAGs may equal those of the pipeline.
        once: identifies what is reported once.
        task_id: the task that failed; None if none is known.
    """

    dag_id: str
    run_id: str
    once: str
    task_id: str | None


def run_report(context: Mapping[str, Any], now: datetime) -> RunReport:
    """Reads a callback's context.

    Args:
        context: of a task, of a deadline, or with the DAG and the id of the run only, as Airflow
            gives it if no task failed.
        now: the time.
    """
    run = context.get("dag_run")
    fields = run if isinstance(run, dict) else {}
    dag_id = descriptions.dag_id_of(context)
    names = _recommender_of(dag_id).namespace
    named = fields.get("dag_run_id") or getattr(run, "run_id", None) or context["run_id"]
    run_id = str(named) if dag_id == names.weekly_dag else f"{dag_id}/{named}"
    task_id = getattr(context.get("ti"), "task_id", None)
    if dag_id == names.recover_dag:
        return RunReport(dag_id, run_id, f"{dag_id}/{task_id}/{now.date()}", task_id)
    deadline = (context.get("deadline") or {}).get("deadline_time")
    cleared = getattr(run, "clear_number", None)
    # Neither is known of a run that took too long: then one report an hour, far less than it took.
    attempt = deadline or (cleared if cleared is not None else f"{now:%Y-%m-%dT%H}")
    return RunReport(dag_id, run_id, f"{dag_id}/{named}/{attempt}", task_id)


def _recommender_of(dag_id: str) -> Description:
    if dag_id == CHECK_DAG:
        found = sorted(
            descriptions.read().valid.values(), key=lambda one: not one.namespace.is_first
        )
        if found:
            return found[0]
    return descriptions.of_dag(dag_id)


def _alert_run(action: Action, context: Any, reason: str) -> None:
    try:
        report = run_report(context, datetime.now(UTC))
        if report.task_id == _HAS_ITS_OWN_ALERT:
            return
        if report.task_id is not None:
            reason = f"{reason}: {report.task_id}"
        recommender = _recommender_of(report.dag_id)
        services, routing = settings.services(recommender), settings.alerts_of(recommender)
        alerts.note_run(
            services,
            routing,
            action,
            run_id=report.run_id,
            dag_id=report.dag_id,
            reason=reason,
            once=report.once,
        )
        alerts.send_alerts(services, routing)
    except Exception:
        log.exception("no alert could be sent; the recovery DAG sends what is in the ledger")
