"""An actor has a name, an origin and a reason."""

from __future__ import annotations

import pytest

from recsys.errors import LedgerError
from recsys.ledger import Actor


@pytest.mark.parametrize("field", ["name", "origin", "reason"])
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_field_is_refused_and_named(field: str, text: str) -> None:
    values = {"name": "ada", "origin": "tests", "reason": "better", field: text}
    with pytest.raises(LedgerError, match="an actor and a reason") as caught:
        Actor(**values)
    assert caught.value.found == f"no {field}"


def test_each_origin_has_a_constructor() -> None:
    assert Actor.from_command_line("ada", "r") == Actor("ada", "command line", "r")
    assert Actor.from_run("manual__1", "r", "ada") == Actor("ada", "run manual__1", "r")
    assert Actor.from_run("manual__1", "r") == Actor("airflow", "run manual__1", "r")
    assert Actor.from_releases_page("ada", "r") == Actor("ada", "releases page", "r")


def test_the_same_actor_may_act_for_another_reason() -> None:
    actor = Actor("ada", "tests", "better")
    assert actor.because("before it") == Actor("ada", "tests", "before it")
    with pytest.raises(LedgerError):
        actor.because("")
