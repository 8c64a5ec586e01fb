"""What is reported of a run that failed or is late, and what is reported once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from recsys_dag.run_alerts import run_report

NOW = datetime(2026, 11, 30, 4, 0, tzinfo=UTC)


def of_task(dag_id: str, run_id: str, cleared: int = 0, task_id: str = "gate_candidate") -> Any:
    """The context of a callback after a task failed."""
    run = SimpleNamespace(dag_id=dag_id, run_id=run_id, clear_number=cleared)
    return {"dag_run": run, "run_id": run_id, "ti": SimpleNamespace(task_id=task_id)}


def of_deadline(run_id: str, deadline_time: str) -> Any:
    """The context of a deadline's callback, which is JSON."""
    run = {"dag_run_id": run_id, "dag_id": "movie_rec_sys"}
    return {"dag_run": run, "deadline": {"id": "1", "deadline_time": deadline_time}}


def test_a_run_that_is_cleared_and_fails_again_is_reported_again() -> None:
    first = run_report(of_task("movie_rec_sys", "manual__1"), NOW)
    later = NOW + timedelta(hours=3)
    assert run_report(of_task("movie_rec_sys", "manual__1"), later).once == first.once
    again = run_report(of_task("movie_rec_sys", "manual__1", cleared=1), later)
    assert again.once != first.once
    assert (again.dag_id, again.run_id) == ("movie_rec_sys", "manual__1")


def test_a_run_that_is_late_again_after_it_was_cleared_is_reported_again() -> None:
    first = run_report(of_deadline("manual__1", "2026-11-30T10:00:00Z"), NOW)
    assert run_report(of_deadline("manual__1", "2026-11-30T10:00:00Z"), NOW).once == first.once
    assert run_report(of_deadline("manual__1", "2026-12-01T10:00:00Z"), NOW).once != first.once


def test_a_run_without_a_failed_task_is_reported_all_the_same() -> None:
    """Airflow names only DAG and run if the run took too long."""
    context = {"dag": SimpleNamespace(dag_id="movie_rec_sys"), "run_id": "manual__1"}
    first = run_report(context, NOW)
    assert (first.dag_id, first.run_id, first.task_id) == ("movie_rec_sys", "manual__1", None)
    assert run_report(context, NOW + timedelta(minutes=5)).once == first.once
    assert run_report(context, NOW + timedelta(hours=14)).once != first.once


def test_runs_of_two_dags_with_one_id_are_two() -> None:
    run_id = "scheduled__2026-11-30T04:00:00+00:00"
    reports = {
        (found.run_id, found.once)
        for dag_id in ("movie_rec_sys", "movie_rec_sys_recover", "movie_rec_sys_tune")
        for found in [run_report(of_task(dag_id, run_id), NOW)]
    }
    assert len({run for run, _ in reports}) == len({once for _, once in reports}) == 3


def test_a_dag_that_fails_every_five_minutes_is_reported_once_a_day_for_each_task() -> None:
    def once(number: int, task_id: str, at: datetime) -> str:
        context = of_task("movie_rec_sys_recover", f"scheduled__{number}", task_id=task_id)
        return run_report(context, at).once

    first = once(1, "recover_promotion", NOW)
    assert once(2, "recover_promotion", NOW + timedelta(minutes=5)) == first
    assert once(3, "measure_ledger", NOW + timedelta(minutes=10)) != first
    assert once(4, "recover_promotion", NOW + timedelta(days=1)) != first
