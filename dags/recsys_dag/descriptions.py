"""The recommenders of this Airflow, and which of them a DAG, a run or a callback belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys import recommenders
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.recommenders import Description, Descriptions

TAG: Final = "recommender:"
"""Begins the tag by which a DAG that is not the project's names its recommender."""


def folder() -> Path:
    """Returns the folder of the descriptions: ``RECSYS_RECOMMENDERS``, else beside the DAGs'."""
    return recommenders.folder() or Path(__file__).resolve().parents[2] / "recommenders"


def read() -> Descriptions:
    """Reads the descriptions. A file that was added or changed counts at the next call."""
    return recommenders.read_descriptions(folder())


def named(name: str) -> Description:
    """Returns a recommender.

    Raises:
        ConfigurationError: it has no valid description.
    """
    found = read()
    if name in found.valid:
        return found.valid[name]
    for file, error in found.errors.items():
        if file.stem == name:
            raise error
    raise ConfigurationError(
        "there is no such recommender",
        found=name,
        expected=f"one of {', '.join(sorted(found.valid)) or 'none'}",
        hint=f"describe it in {folder()}/{name}.yaml",
    )


def of_dag(dag_id: str) -> Description:
    """Returns the recommender of a DAG.

    Never another one, not even if its own description is gone: the callback of a run must not
    change what belongs to somebody else.

    Raises:
        ConfigurationError: the DAG belongs to no recommender with a valid description.
    """
    for description in read().valid.values():
        if dag_id in description.namespace.dag_ids:
            return description
    raise ConfigurationError(
        f"the DAG {dag_id} belongs to no recommender",
        hint=f"describe the recommender in {folder()}; the list of DAGs shows invalid descriptions "
        f"as import errors. A DAG of your own names its recommender by a tag, {TAG}<name>",
    )


def of(context: Any) -> Description:
    """Returns the recommender of the run of a task or callback, from its context.

    That of the DAG; a DAG of somebody else that uses the project's operators names it by a tag,
    ``recommender:<name>``.

    Raises:
        ConfigurationError: the DAG belongs to no recommender with a valid description.
    """
    tags = getattr(context.get("dag"), "tags", None) or ()
    named_by_tags = [tag.removeprefix(TAG) for tag in tags if tag.startswith(TAG)]
    return named(*named_by_tags) if len(named_by_tags) == 1 else of_dag(dag_id_of(context))


def current() -> Description:
    """Returns the recommender of the run of the task in this process."""
    from airflow.sdk import get_current_context

    return of(get_current_context())


def dag_id_of(context: Any) -> str:
    """Returns the id of the DAG: contexts of deadlines have the run as plain data."""
    run = context.get("dag_run")
    fields = run if isinstance(run, dict) else {}
    return str(fields.get("dag_id") or getattr(run, "dag_id", None) or context["dag"].dag_id)
