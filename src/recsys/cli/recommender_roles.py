"""Airflow roles of recommenders, for the command `recommender`."""

from __future__ import annotations

import os
import pkgutil
from typing import TYPE_CHECKING, Any, Final

from recsys import recommenders
from recsys.cli import output
from recsys.cli.output import console
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.recommenders import Description

_OF_AIRFLOW: Final = "recsys_dag."
_AIRFLOW_ROLES: Final = "recsys_dag.roles"


def apply(name: str) -> None:
    """Gives the roles of one recommender, or of all, their rights, and prints what it changed."""
    airflow = _airflow()
    if airflow is None:
        raise ConfigurationError(
            "Airflow's roles can be changed in a container of Airflow only",
            hint=f"run there what `recsys recommender grants {name or 'NAME'}` prints",
        )
    valid = recommenders.read_descriptions(output.descriptions_folder()).valid
    for one in [output.description(name)] if name else list(valid.values()):
        if one.roles is None:
            console.print(f"{one.name}: its description has no roles")
            continue
        changed = airflow.apply_of_command_line(one)
        console.print(f"{one.name}: {output.safe('; '.join(changed)) or 'in order'}")


def problems(one: Description) -> list[str]:
    """Returns what is wrong with a recommender's roles; nothing where that cannot be known."""
    if one.roles is None or (airflow := _airflow()) is None:
        return []
    found: list[str] = airflow.problems_of_command_line(one)
    return found


def take_away(one: Description) -> None:
    """Takes all rights on its DAGs away: a later recommender could have the same name."""
    if one.roles is None or (airflow := _airflow()) is None or not airflow.has_fab():
        return
    for change in airflow.apply_of_command_line(one.model_copy(update={"roles": ()})):
        console.print(output.safe(change))


def _airflow() -> Any:
    """Returns the module that knows the roles of this Airflow; None outside of Airflow."""
    if not os.environ.get("RECSYS_SERVICES", "").startswith(_OF_AIRFLOW):
        return None
    return pkgutil.resolve_name(_AIRFLOW_ROLES)
