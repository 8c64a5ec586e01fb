"""Runs a component of Airflow that forks, after importing what its forks need.

``python -m recsys.embedded.preloaded_airflow scheduler|dag-processor [OPTION...]`` is
``python -m airflow ...``. The scheduler forks for each task, and the DAG processor for each parse
of a file. Importing these libraries in each fork costs more CPU time than most of the tasks.

Only libraries are imported here: a task must run the current code of ``recsys`` and of the DAGs.
None of them starts a thread, because threads do not survive a fork (polars and NumPy start some).
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

LIBRARIES: Final = (
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.postgres.hooks.postgres",
    "airflow.providers.standard.decorators.branch_python",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.hitl",
    "airflow.sdk.definitions.decorators.task_group",
    "airflow.sdk.definitions.retry_policy",
    "airflow.sdk.execution_time.task_runner",
    "boto3",
    "botocore.config",
    "jinja2",
    "lazy_loader",
    "psycopg",
    "pydantic_settings",
    "requests",
    "tenacity",
)


def preload(names: Iterable[str] = LIBRARIES) -> None:
    """Imports the modules; leaves out those that are not installed."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def main() -> None:
    """Imports the libraries, then runs the command line of Airflow with this one's arguments."""
    preload()
    sys.argv[0] = "airflow"
    runpy.run_module("airflow", run_name="__main__")


if __name__ == "__main__":
    main()
