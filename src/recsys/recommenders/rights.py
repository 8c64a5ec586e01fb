"""What the Airflow roles of a recommender's people may do, in the words of Airflow's FAB.

The rights of `COMMON` are about all DAGs, but are worth nothing without a right on the DAG: Airflow
asks for both. A role has no right on assets, connections, variables, pools and import errors,
because these have no owner: they would show those of all recommenders.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Final, NamedTuple

from recsys.recommenders.description import Description
from recsys.recommenders.namespace import Namespace


class Right(NamedTuple):
    """A permission of FAB, such as ``can_read`` on ``DAG:books``."""

    action: str
    resource: str


_COMMON: Final = {
    "can_read": (
        "DAG Code",
        "DAG Dependencies",
        "DAG Runs",
        "DAG Versions",
        "DAG Warnings",
        "HITL Detail",
        "My Password",
        "My Profile",
        # Airflow's menu shows the releases page to who may read the list of plugins.
        "Plugins",
        "Task Instances",
        "Task Logs",
        "Website",
        "XComs",
    ),
    "can_create": ("DAG Runs", "Task Instances"),
    "can_edit": ("DAG Runs", "HITL Detail", "My Password", "My Profile", "Task Instances"),
    "can_delete": ("DAG Runs", "Task Instances"),
    "menu_access": ("Browse", "DAG Runs", "DAGs", "HITL Detail", "Task Instances"),
}
COMMON: Final = frozenset(
    Right(action, resource) for action, resources in _COMMON.items() for resource in resources
)
"""Rights of each role that are not about a certain DAG."""


def dag_rights(names: Namespace) -> frozenset[Right]:
    """Returns the rights on the DAGs of a recommender; none to delete a DAG with its history."""
    return frozenset(
        Right(action, f"DAG:{dag_id}")
        for action in ("can_read", "can_edit")
        for dag_id in names.dag_ids
    )


def dag_resources(names: Namespace) -> frozenset[str]:
    """Returns all resources of FAB that are about the DAGs of a recommender."""
    return frozenset(
        f"{prefix}:{dag_id}" for prefix in ("DAG", "DAG Run") for dag_id in names.dag_ids
    )


def role_commands(description: Description) -> list[str]:
    """Returns the commands that make the roles with their rights; each can be repeated."""
    commands = []
    for role in description.roles or ():
        commands.append(shlex.join(["airflow", "roles", "create", role]))
        rights = COMMON | dag_rights(description.namespace)
        for action in sorted({right.action for right in rights}):
            resources = sorted(right.resource for right in rights if right.action == action)
            commands.append(
                shlex.join(["airflow", "roles", "add-perms", role, "-a", action, "-r", *resources])
            )
    return commands


def in_words(rights: Iterable[Right]) -> str:
    """Returns rights as text, such as ``can_edit on DAG:books``."""
    return ", ".join(f"{right.action} on {right.resource}" for right in sorted(rights))
