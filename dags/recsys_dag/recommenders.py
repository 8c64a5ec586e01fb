"""The DAG file: makes the DAGs of all recommenders that are described in the folder.

Every task process imports it, and makes the one DAG of its task only. A description that is invalid
leaves the others as they are: `invalid_descriptions` is the import error that Airflow shows for it.
"""

from __future__ import annotations

from typing import Final

# For programs that run one DAG.
from recsys_dag.recommender_dags import dags_of_team
from recsys_dag.recommender_dags import make_dag as make_dag

DAGS: Final = dags_of_team(None)
globals().update(DAGS)
