"""The DAG file: makes the DAGs of all recommenders that are described in the folder.

Every task process imports it, and makes the one DAG of its task only. A description that is invalid
leaves the others as they are: `invalid_descriptions` is the import error that Airflow shows for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk import DAG, get_parsing_context

from recsys_dag import descriptions
from recsys_dag.description_checks import usable
from recsys_dag.erase import make_erase_dag
from recsys_dag.recover import make_recover_dag
from recsys_dag.rollback import make_rollback_dag
from recsys_dag.tune import make_tune_dag
from recsys_dag.weekly import make_weekly_dag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def _make_dags(only: str | None) -> Iterator[DAG]:
    found = [
        each
        for each in descriptions.read().valid.values()
        if only is None or only in each.namespace.dag_ids
    ]
    for recommender in usable(found):
        for dag_id, make in makers(recommender).items():
            if only in (None, dag_id):
                yield make(recommender)


DAGS: Final = {dag.dag_id: dag for dag in _make_dags(get_parsing_context().dag_id)}
globals().update(DAGS)
