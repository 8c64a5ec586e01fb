"""Example: another team writes a newsletter whenever a release was promoted.

It needs a reader's Connections only; see docs/connections.rst.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_recsys.hooks.recommender import RecommenderHook
from recsys_dag.assets import release_asset


@task
def choose_movies(user_id: int) -> list[str]:
    """Returns the titles that the live release recommends to one subscriber."""
    return [movie.title for movie in RecommenderHook().recommend(user_id, count=5)]


@task
def write_newsletter(letters: Any, subscribers: Any) -> dict[str, list[str]]:
    """Returns the titles of each subscriber; a real DAG would send them."""
    return dict(zip(map(str, subscribers), letters, strict=True))


@task
def list_subscribers(**context: Any) -> list[int]:
    """Returns the users who get the newsletter."""
    return list(context["params"]["subscribers"])


with DAG(
    dag_id="example_recsys_newsletter",
    description="Another team's newsletter from new recommendations",
    schedule=release_asset("movie_rec_sys"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args={"retries": 2, "execution_timeout": timedelta(minutes=10)},
    params={"subscribers": Param([1, 2, 3], type="array", items={"type": "integer"})},
    tags=["example", "recsys"],
) as dag:
    users = list_subscribers()
    write_newsletter(choose_movies.expand(user_id=users), users)
