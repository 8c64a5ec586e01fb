"""Roles of people in Airflow's auth manager FAB, for ``recsys recommender``.

A DAG's own ``access_control`` is not used: if one role of it is missing, Airflow stops all DAGs of
the file, so those of all recommenders (ADR 40).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from recsys.errors import ConfigurationError
from recsys.recommenders import COMMON, Right, dag_resources, dag_rights, in_words

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from recsys.recommenders import Description

_ADMIN: Final = "Admin"
"""FAB gives it each right on each DAG."""


def problems_of_command_line(recommender: Description) -> list[str]:
    """Returns what is wrong with the roles of a recommender; empty without FAB, which has them."""
    if recommender.roles is None or not has_fab():
        return []
    found = []
    repair = f"`recsys recommender roles {recommender.name}`"
    with _session() as session:
        held = {role.name: _rights(role) for role in _roles(session)}
    for name in recommender.roles:
        if name not in held:
            found.append(f"there is no Airflow role {name}; {repair} makes it")
        elif missing := _wanted(recommender) - held[name]:
            found.append(f"the role {name} lacks {in_words(missing)}; {repair} gives it")
    for name in _strangers(recommender, held):
        found.append(
            f"the role {name} has rights on its DAGs and is not in roles; {repair} takes them away"
        )
    return found


def apply_of_command_line(recommender: Description) -> list[str]:
    """Makes the roles of a recommender, and gives and takes rights on its DAGs; can be repeated.

    All of it is one transaction. Other rights of the roles stay as they are.

    Returns:
        What was changed.

    Raises:
        ConfigurationError: this Airflow has no FAB.
    """
    if not has_fab():
        raise ConfigurationError(
            "this Airflow has no roles that can be made here",
            found="[core] auth_manager without FAB",
            hint="docs/tenants.md says how other auth managers separate tenants",
        )
    from sqlalchemy.exc import IntegrityError

    # Airflow's DAG processor may have made the same permission in the same moment.
    for attempt in Retrying(
        retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(5), reraise=True
    ):
        with attempt, _session() as session:
            changed = _apply(session, recommender)
    return changed


def _apply(session: Session, recommender: Description) -> list[str]:
    from airflow.providers.fab.auth_manager.models import Role

    changed = []
    roles = {role.name: role for role in _roles(session)}
    for name in recommender.roles or ():
        if name not in roles:
            roles[name] = Role(name=name)
            session.add(roles[name])
            changed.append(f"made the role {name}")
        missing = _wanted(recommender) - _rights(roles[name])
        roles[name].permissions.extend(_permission(session, right) for right in sorted(missing))
        if missing:
            changed.append(f"gave {name} {in_words(missing)}")
    held = {name: _rights(role) for name, role in roles.items()}
    for name, rights in _strangers(recommender, held).items():
        kept = [each for each in roles[name].permissions if _right(each) not in rights]
        roles[name].permissions = kept
        changed.append(f"took from {name} {in_words(rights)}")
    session.flush()
    return changed


def _wanted(recommender: Description) -> frozenset[Right]:
    return COMMON | dag_rights(recommender.namespace)


def _strangers(
    recommender: Description, held: dict[str, frozenset[Right]]
) -> dict[str, frozenset[Right]]:
    """Returns the rights on the recommender's DAGs of roles that its description does not name."""
    resources = dag_resources(recommender.namespace)
    found = {
        name: frozenset(right for right in rights if right.resource in resources)
        for name, rights in held.items()
        if name not in (_ADMIN, *(recommender.roles or ()))
    }
    return {name: rights for name, rights in sorted(found.items()) if rights}


def has_fab() -> bool:
    """Returns whether FAB manages the accounts of this Airflow."""
    from airflow.configuration import conf

    return "FabAuthManager" in conf.get("core", "auth_manager")


@contextmanager
def _session() -> Iterator[Session]:
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    # Airflow's libraries log to standard output, which is for the command's result.
    with redirect_stdout(sys.stderr):
        from airflow.utils.session import create_session

        with create_session() as session:
            yield session


def _roles(session: Session) -> list[Any]:
    from airflow.providers.fab.auth_manager.models import Role
    from sqlalchemy import select

    return list(session.scalars(select(Role)).unique())


def _rights(role: Any) -> frozenset[Right]:
    return frozenset(_right(each) for each in role.permissions)


def _right(permission: Any) -> Right:
    return Right(permission.action.name, permission.resource.name)


def _permission(session: Session, right: Right) -> Any:
    from airflow.providers.fab.auth_manager.models import Action, Permission, Resource
    from sqlalchemy import select

    def one(kind: Any, **fields: Any) -> Any:
        found = session.scalars(select(kind).filter_by(**fields)).unique().one_or_none()
        if found is None:
            found = kind(**fields)
            session.add(found)
            session.flush()
        return found

    action, resource = one(Action, name=right.action), one(Resource, name=right.resource)
    permission = one(Permission, action_id=action.id, resource_id=resource.id)
    # Its attributes are read again by `_right`.
    permission.action, permission.resource = action, resource
    return permission
