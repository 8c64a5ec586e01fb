"""Reads the pipeline's runs from Airflow's database: the last ones, and those that wait."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from urllib.parse import quote

from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from recsys_dag.airflow_address import base_path
from recsys_dag.approval_form import TASK_ID as APPROVAL
from recsys_dag.failures import ERROR_KEY

SHOWN: Final = 10
_MAX_ERROR: Final = 500


class FailedTask(BaseModel):
    """A task that failed in a run.

    Attributes:
        task_id: the task.
        error: the error's text; None if the task was killed.
        href: address of the task's log in Airflow.
    """

    task_id: str
    error: str | None
    href: str


class RunLine(BaseModel):
    """A DAG run.

    Attributes:
        dag_id: the weekly DAG.
        run_id: id of the run.
        state: Airflow's state.
        started: start time; None while the run is queued.
        seconds: duration; None until the run ends.
        started_by: user who triggered it; None for a scheduled or asset-triggered run.
        failed: the tasks that failed.
    """

    dag_id: str
    run_id: str
    state: str
    started: datetime | None
    seconds: float | None
    started_by: str | None
    failed: list[FailedTask] = []

    @property
    def duration(self) -> str:
        """The duration in hours, minutes and seconds; empty until the run ends."""
        if self.seconds is None:
            return ""
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        parts = ((hours, "h"), (minutes, "min"), (seconds, "s"))
        shown = [f"{count} {unit}" for count, unit in parts if count][:2]
        return " ".join(shown) or "0 s"

    @property
    def href(self) -> str:
        """Address of the run in Airflow."""
        return _run_address(self.dag_id, self.run_id)


class Waiting(BaseModel):
    """A question to a person that nobody has answered.

    Attributes:
        run_id: the run that waits.
        question: headline of the form.
        asked_at: when it was asked.
        answer_by: when the wait ends; None if it has no limit.
        href: address of the form in Airflow.
    """

    run_id: str
    question: str
    asked_at: datetime
    answer_by: datetime | None
    href: str


def last_runs(dag_id: str) -> list[RunLine]:
    """Returns the newest runs of a weekly DAG, newest first."""
    newest = select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(SHOWN)
    with create_session() as session:
        runs = list(session.scalars(newest))
        failed = _failed_tasks(session, dag_id, [run.run_id for run in runs])
        return [_line(run, failed.get(run.run_id, [])) for run in runs]


def waiting(dag_id: str) -> list[Waiting]:
    """Returns the approvals in a weekly DAG that wait for a person, the oldest first."""
    question = (
        select(HITLDetail, TaskInstance)
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.task_id == APPROVAL,
            TaskInstance.state.in_((TaskInstanceState.AWAITING_INPUT, TaskInstanceState.DEFERRED)),
            HITLDetail.responded_at.is_(None),
        )
        .order_by(HITLDetail.created_at)
    )
    with create_session() as session:
        return [
            Waiting(
                run_id=task.run_id,
                question=detail.subject,
                asked_at=detail.created_at,
                answer_by=task.trigger_timeout,
                href=f"{_task_address(dag_id, task.run_id, APPROVAL)}/required_actions",
            )
            for detail, task in session.execute(question)
        ]


def _failed_tasks(
    session: Session, dag_id: str, run_ids: Iterable[str]
) -> dict[str, list[FailedTask]]:
    of_these = TaskInstance.dag_id == dag_id, TaskInstance.run_id.in_(list(run_ids))
    failed = list(
        session.execute(
            select(TaskInstance.run_id, TaskInstance.task_id)
            .where(*of_these, TaskInstance.state == TaskInstanceState.FAILED)
            .order_by(TaskInstance.end_date)
        )
    )
    errors = {
        (run_id, task_id): value
        for run_id, task_id, value in session.execute(
            select(XComModel.run_id, XComModel.task_id, XComModel.value).where(
                XComModel.dag_id == dag_id,
                XComModel.run_id.in_({run_id for run_id, _ in failed}),
                XComModel.key == ERROR_KEY,
            )
        )
    }
    found: dict[str, list[FailedTask]] = defaultdict(list)
    for run_id, task_id in failed:
        error = errors.get((run_id, task_id))
        found[run_id].append(
            FailedTask(
                task_id=task_id,
                error=None if error is None else str(error)[:_MAX_ERROR],
                href=_task_address(dag_id, run_id, task_id),
            )
        )
    return found


def _line(run: DagRun, failed: list[FailedTask]) -> RunLine:
    seconds = None
    if run.start_date and run.end_date:
        seconds = (run.end_date - run.start_date).total_seconds()
    return RunLine(
        dag_id=run.dag_id,
        run_id=run.run_id,
        state=str(run.state),
        started=run.start_date,
        seconds=seconds,
        started_by=run.triggering_user_name,
        failed=failed,
    )


def _run_address(dag_id: str, run_id: str) -> str:
    return f"{base_path()}/dags/{dag_id}/runs/{quote(run_id, safe='')}"


def _task_address(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_address(dag_id, run_id)}/tasks/{quote(task_id, safe='')}"
