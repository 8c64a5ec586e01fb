"""Makes the DAGs of recommenders. Importing it makes none: that is for files of a bundle.

Airflow counts each DAG that is made while a file is imported as one of that file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, get_parsing_context
from airflow.sdk.configuration import conf

from recsys_dag import descriptions
from recsys_dag.description_checks import usable
from recsys_dag.erase import make_erase_dag
from recsys_dag.recover import make_recover_dag
from recsys_dag.rollback import make_rollback_dag
from recsys_dag.tune import make_tune_dag
from recsys_dag.weekly import make_weekly_dag

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys.recommenders import Description


def makers(recommender: Description) -> dict[str, Callable[[Description], DAG]]:
    """Returns what makes the DAGs of a recommender, by their ids."""
    names = recommender.namespace
    return {
        names.weekly_dag: make_weekly_dag,
        names.recover_dag: make_recover_dag,
        names.rollback_dag: make_rollback_dag,
        names.tune_dag: make_tune_dag,
        names.erase_dag: make_erase_dag,
    }


def make_dag(dag_id: str) -> DAG:
    """Makes one DAG.

    Raises:
        ConfigurationError: it belongs to no recommender with a valid description.
    """
    recommender = descriptions.of_dag(dag_id)
    return makers(recommender)[dag_id](recommender)


def dags_of_team(team: str | None) -> dict[str, DAG]:
    """Returns the DAGs of a team's recommenders by their ids, in a task's process only its own.

    Airflow gives a team to a bundle of DAG files, not to a DAG: docs/tenants.md shows the file of
    a team's bundle, which calls this function.

    Args:
        team: the team; None: of the recommenders without one.
    """
    teams = conf.getboolean("core", "multi_team", fallback=False)
    only = get_parsing_context().dag_id
    found = [
        each
        for each in descriptions.read().valid.values()
        if (each.team if teams else None) == team and only in (None, *each.namespace.dag_ids)
    ]
    return {
        dag_id: make(recommender)
        for recommender in usable(found)
        for dag_id, make in makers(recommender).items()
        if only in (None, dag_id)
    }
