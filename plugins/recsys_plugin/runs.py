"""Reads the last runs of the pipeline from Airflow's database."""

from __future__ import annotations

from datetime import datetime

from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from pydantic import BaseModel
from sqlalchemy import select

from recsys_plugin.access import PIPELINE_DAG

SHOWN = 10


class RunLine(BaseModel):
    """A DAG run.

    Attributes:
        run_id: id of the run.
        state: Airflow's state.
        started: start time; None while the run is queued.
        seconds: duration; None until the run ends.
        started_by: user who triggered it; None for a scheduled or asset-triggered run.
    """

    run_id: str
    state: str
    started: datetime | None
    seconds: float | None
    started_by: str | None


def last_runs() -> list[RunLine]:
    """Returns the newest runs of the weekly DAG, newest first."""
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
