"""The last runs of the pipeline, as Airflow's own tables tell them."""

from __future__ import annotations

from datetime import datetime

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from pydantic import BaseModel
from sqlalchemy import select

from recsys_plugin.access import PIPELINE_DAG

SHOWN = 10


class RunLine(BaseModel):
    """One DAG run.

    Attributes:
        run_id: of the run.
        state: as Airflow says.
        started: None while it waits.
        seconds: how long it took; None while it runs.
        started_by: the user who triggered it; None: schedule or asset.
    """

    run_id: str
    state: str
    started: datetime | None
    seconds: float | None
    started_by: str | None


def last_runs() -> list[RunLine]:
    """The newest runs of the weekly DAG, newest first."""
    newest = (
        select(DagRun).where(DagRun.dag_id == PIPELINE_DAG).order_by(DagRun.id.desc()).limit(SHOWN)
    )
    with create_session() as session:
        return [_line(run) for run in session.scalars(newest)]


def _line(run: DagRun) -> RunLine:
    seconds = None
    if run.start_date and run.end_date:
        seconds = (run.end_date - run.start_date).total_seconds()
    return RunLine(
        run_id=run.run_id,
        state=str(run.state),
        started=run.start_date,
        seconds=seconds,
        started_by=run.triggering_user_name,
    )
