"""Whether a valid description agrees with the variables of this Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys.errors import ConfigurationError
from recsys_dag import descriptions
from recsys_dag.timeouts import timeouts
from recsys_dag.trainer import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recsys.recommenders import Description


def usable(found: Iterable[Description]) -> list[Description]:
    """Returns the recommenders whose descriptions agree with the variables.

    One that does not must not take away the DAGs of the others.

    Raises:
        ConfigurationError: none is left, as when a variable is wrong for all.
    """
    kept, errors = [], []
    for recommender in found:
        try:
            _check(recommender)
        except ConfigurationError as error:
            errors.append(error)
        else:
            kept.append(recommender)
    if errors and not kept:
        raise errors[0]
    return kept


def errors_of_descriptions() -> list[ConfigurationError]:
    """Returns why files in the folder make no DAGs: invalid, or in conflict with the variables."""
    found = descriptions.read()
    errors = list(found.errors.values())
    for recommender in found.valid.values():
        try:
            _check(recommender)
        except ConfigurationError as error:
            errors.append(
                ConfigurationError(
                    f"{descriptions.folder() / recommender.name}.yaml and the variables of this "
                    "Airflow contradict each other",
                    hint=str(error),
                )
            )
    return errors


def _check(recommender: Description) -> None:
    settings.workers(recommender)
    settings.verifier_image(recommender)
    timeouts(recommender)
