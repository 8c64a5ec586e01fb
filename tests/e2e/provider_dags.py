"""DAGs of another team that use the provider's operators and its sensor."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import DAG, Param

from airflow_provider_recsys.operators.release import (
    PromoteReleaseOperator,
    RollBackReleaseOperator,
)
from airflow_provider_recsys.sensors.release import ReleaseSensor
from recsys.recommenders import Description
from recsys_dag.recover import make_recover_dag

REASON = "{{ params.reason }}"
BOOKS = "books_of_provider"

with DAG(
    "provider_promote",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"release": Param("", type="string"), "reason": Param("", type="string")},
) as promote:
    PromoteReleaseOperator(task_id="promote", release_id="{{ params.release }}", reason=REASON)

with DAG(
    "provider_roll_back",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"reason": Param("", type="string")},
) as roll_back:
    RollBackReleaseOperator(task_id="roll_back", reason=REASON)

with DAG(
    "provider_promote_books",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"release": Param("", type="string"), "reason": Param("", type="string")},
) as promote_books:
    PromoteReleaseOperator(
        task_id="promote", release_id="{{ params.release }}", reason=REASON, recommender=BOOKS
    ) >> ReleaseSensor(task_id="wait", recommender=BOOKS, poke_interval=0.2, timeout=60)

with DAG(
    "provider_wait",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"seen": Param("", type="string")},
) as wait:
    ReleaseSensor(
        task_id="wait",
        other_than="{{ params.seen }}",
        poke_interval=0.2,
        max_poll_interval=0.5,
        timeout=60,
    )

recover_books = make_recover_dag(Description(name=BOOKS, title="Books", source="/books.zip"))
# Airflow reads it here.
recover_books.fileloc = __file__
