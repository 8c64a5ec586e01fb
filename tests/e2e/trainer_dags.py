"""What the tests of the trainer's launchers share: a small DAG, and acts upon what it started."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys.pipeline import Run
from recsys.services import Services
from tests.e2e.conftest import Outcome, Pipeline
from tests.e2e.fake_server import FakeServer

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator

ROOT: Final = Path(__file__).resolve().parents[2]
DIGEST: Final = f"sha256:{'b' * 64}"
IMAGE: Final = f"registry.example/recsys-trainer@{DIGEST}"
SECRET: Final = "recsys-trainer-s3"  # noqa: S105  a name

Featured = tuple[Services, Run]
"""Servers on which a run has come as far as its features, and that run."""


def run_trainer(
    featured: Featured,
    operators: Callable[[dict[str, Any]], Sequence[BaseOperator]],
    retries: int = 0,
) -> Outcome:
    """Runs tasks one after the other in a DAG that has nothing before them but their input.

    Args:
        featured: where, and of which run.
        operators: makes them; is given what all tasks of the project are given.
        retries: of each.
    """
    from airflow.sdk import DAG, chain, task

    from recsys_dag.defaults import task_defaults

    services, about = featured
    of = ["recommender:movie_rec_sys"]
    with DAG("trainer", schedule=None, start_date=datetime(2026, 1, 1), tags=of) as dag:

        @task(task_id="data_is_new")
        def begin(**context: Any) -> None:
            context["ti"].xcom_push(key="run", value=about.model_dump(mode="json"))
            context["ti"].xcom_push(key="trainer_image", value=IMAGE)

        defaults = task_defaults(None) | {"retries": retries, "retry_delay": timedelta(seconds=0.1)}
        chain(begin(), *operators(defaults))
    serialize(dag)
    return Pipeline(services).run_dag(dag, {})


def serialize(dag: DAG) -> None:
    """Makes a DAG that is in no file known to Airflow's database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.definitions.dag import SerializedDAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    DagBundlesManager().sync_bundles_to_db()
    lazy = LazyDeserializedDAG.from_dag(dag)
    SerializedDAG.bulk_write_to_db("dags-folder", None, [lazy])
    SerializedDagModel.write_dag(lazy, bundle_name="dags-folder")


def when_running(
    server: FakeServer, act: Callable[[str], object], said: Callable[[str], bool] = bool
) -> threading.Thread:
    """Does something to the first process that runs and of whose name ``said`` is true."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for name in list(server.processes):
                if said(name):
                    act(name)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread
