"""The DAG file that has no DAG: it fails to import while a description is wrong.

Wrong is one that is invalid, or contradicts the variables of this Airflow. So Airflow shows the
error, with the file and its line, where it shows those of DAG files, while the DAGs of all other
recommenders, which are in another file, go on.
"""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from recsys.errors import ConfigurationError
from recsys_dag.description_checks import errors_of_descriptions

# A task process parses one DAG, which is not here.
if get_parsing_context().dag_id is None:
    errors = errors_of_descriptions()
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigurationError(
            f"the descriptions of {len(errors)} recommenders are invalid",
            hint="\n".join(map(str, errors)),
        )
