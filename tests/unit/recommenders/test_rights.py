"""Rights of Airflow's roles on the DAGs of a recommender."""

from __future__ import annotations

import shlex
from collections import defaultdict

import pytest
from pydantic import ValidationError

from recsys.recommenders import (
    COMMON,
    Description,
    Namespace,
    Right,
    dag_resources,
    dag_rights,
    role_commands,
)


def books(**fields: object) -> Description:
    values = {"name": "books", "title": "Books", "source": "s3://dumps/books.zip", **fields}
    return Description.model_validate(values)


@pytest.mark.parametrize("role", ["Admin", "Op", "User", "Viewer", "Public", "", "a\nb", "x" * 65])
def test_roles_of_airflow_itself_and_impossible_names_are_refused(role: str) -> None:
    with pytest.raises(ValidationError, match=r"roles\.0"):
        books(roles=[role])


def test_no_right_of_a_role_is_about_dags_of_others() -> None:
    names = Namespace("books")
    own = dag_rights(names)
    assert {right.resource for right in own} < dag_resources(names)
    assert not dag_resources(names) & dag_resources(Namespace("books_de"))
    # With one of these, a role would see or change what belongs to all tenants.
    without_owner = {
        *("DAGs", "Assets", "Asset Aliases", "ImportError", "Connections", "Variables", "Pools"),
        *("Audit Logs", "Configurations", "Backfills", "Jobs", "Users", "Roles"),
    }
    granted = {right for right in COMMON if right.resource in without_owner}
    assert granted == {Right("menu_access", "DAGs")}


def test_the_commands_for_airflow_give_exactly_these_rights() -> None:
    given: dict[str, set[Right]] = defaultdict(set)
    for command in role_commands(books(roles=["book readers", "it's"])):
        airflow, roles, action, role, *rest = shlex.split(command)
        assert (airflow, roles) == ("airflow", "roles")
        if action == "create":
            assert rest == []
            continue
        option, right, resources, *names = rest
        assert (action, option, resources) == ("add-perms", "-a", "-r")
        given[role] |= {Right(right, name) for name in names}
    wanted = COMMON | dag_rights(Namespace("books"))
    assert given == {"book readers": wanted, "it's": wanted}
    assert role_commands(books(roles=None)) == role_commands(books(roles=[])) == []
