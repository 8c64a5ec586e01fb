"""Runs one DAG in this process, without a scheduler: ``python -m recsys_dag.run_dag DAG``.

`dag.test` runs the whole DAG with its branches, retries and trigger rules; `recsys demo` and the
end-to-end tests use it. Progress is written to a file descriptor as JSON lines, one event each:
``{"event": "task", "task_id": .., "state": ..}``, with the ``run_id`` when it begins to run,
``{"event": "log", "text": ..}``, and finally
``{"event": "end", "run_id": .., "state": .., "reason": ..}``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from typing import Any, TextIO

from airflow.listeners import hookimpl
from airflow.sdk import DAG

_MAX_RETRIES = 3
"""Retries of a task: a person waits for this run, so no task waits for hours."""


class Events:
    """Writes events as JSON lines; also an Airflow listener for task states."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, event: str, **fields: Any) -> None:
        """Writes one event and flushes the stream."""
        self._stream.write(json.dumps({"event": event, **fields}, default=str) + "\n")
        self._stream.flush()

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Writes that a try of a task started."""
        self.write(
            "task",
            task_id=task_instance.task_id,
            state="running",
            run_id=task_instance.run_id,
            try_number=task_instance.try_number,
        )

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        """Writes that a task succeeded."""
        self.write("task", task_id=task_instance.task_id, state="success")

    @hookimpl
    def on_task_instance_failed(
        self, previous_state: Any, task_instance: Any, error: str | BaseException | None
    ) -> None:
        """Writes that a try of a task failed."""
        self.write("task", task_id=task_instance.task_id, state="failed", error=str(error))


class _LogEvents(logging.Handler):
    """Logging handler that writes log lines as events."""

    def __init__(self, events: Events) -> None:
        super().__init__(level=logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one log line."""
        self._events.write("log", logger=record.name, text=record.getMessage())


def run(dag: DAG, conf: dict[str, Any], events: Events) -> str:
    """Runs the DAG once and returns the final state of the run.

    Args:
        dag: the DAG.
        conf: values for its Params.
        events: receives the progress.
    """
    from airflow.sdk.listener import get_listener_manager

    # Only a scheduler checks deadlines. `dag.test` would fail at the end, because it reads the
    # deadline from a table that only the DAG processor fills.
    deadline, dag.deadline = dag.deadline, None
    for each in dag.tasks:
        each.retries = min(each.retries or 0, _MAX_RETRIES)
    listeners = get_listener_manager()
    listeners.add_listener(events)  # type: ignore[no-untyped-call]  # Airflow's has no types
    handler = _LogEvents(events)
    logger = logging.getLogger("recsys")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        dag_run = dag.test(run_conf=conf)
    finally:
        logger.removeHandler(handler)
        listeners.pm.unregister(events)
        dag.deadline = deadline
    instances = {ti.task_id: ti for ti in dag_run.get_task_instances()}
    for task_id, instance in instances.items():
        events.write("task", task_id=task_id, state=str(instance.state))
    deciding_task = next(
        (t for t in ("gate_candidate", "data_is_new") if str(_state(instances, t)) == "success"),
        None,
    )
    reason = None
    if deciding_task:
        reason = instances[deciding_task].xcom_pull(task_ids=deciding_task, key="reason")
    events.write("end", run_id=dag_run.run_id, state=str(dag_run.state), reason=reason)
    return str(dag_run.state)


def _state(instances: dict[str, Any], task_id: str) -> Any:
    return instances[task_id].state if task_id in instances else None


def main() -> None:
    """Runs the command; exits with 0 if the run succeeded, else with 1."""
    parser = argparse.ArgumentParser(prog="recsys_dag.run_dag", description=__doc__)
    parser.add_argument("dag_id", help="the DAG to run")
    parser.add_argument("--conf", default="{}", help="values for its Params, as JSON; - reads it")
    parser.add_argument("--events", type=int, default=1, help="file descriptor for the events")
    arguments = parser.parse_args()
    conf = sys.stdin.read() if arguments.conf == "-" else arguments.conf
    from recsys_dag.recommenders import make_dag

    dag = make_dag(arguments.dag_id)
    with os.fdopen(arguments.events, "w", encoding="utf-8") as stream:
        state = run(dag, json.loads(conf), Events(stream))
    sys.exit(0 if state == "success" else 1)


if __name__ == "__main__":
    main()
