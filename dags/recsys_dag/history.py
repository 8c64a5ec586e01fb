"""Deletes what Airflow's database has of DAGs: ``python -m recsys_dag.history DAG...``.

For a recommender that is being removed: its runs, their tasks and values. The audit log stays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from recsys.errors import TransientError


def forget(dag_ids: Sequence[str]) -> int:
    """Deletes the history of DAGs; returns how many had one.

    Raises:
        TransientError: a task of one of them is running.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # Airflow's libraries log to standard output, which is for the command's result.
    with redirect_stdout(sys.stderr):
        from airflow.api.common.delete_dag import delete_dag
        from airflow.exceptions import DagNotFound
        from airflow.sdk.exceptions import AirflowException

        found = 0
        for dag_id in dag_ids:
            try:
                delete_dag(dag_id)
            except DagNotFound:
                continue
            except AirflowException as error:
                raise TransientError(
                    f"the history of the DAG {dag_id} is in use",
                    found=str(error),
                    hint="end its runs in Airflow, and repeat the command",
                ) from error
            found += 1
    return found


def main() -> None:
    """Deletes the history of the DAGs that are named, and prints how many had one."""
    try:
        print(forget(sys.argv[1:]))
    except TransientError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
