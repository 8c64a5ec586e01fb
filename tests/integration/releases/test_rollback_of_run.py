"""A DAG run goes back one step, however often its task is tried."""

from __future__ import annotations

import itertools
import threading

import pytest

from recsys import ledger
from recsys.errors import LedgerError
from recsys.ledger import Actor
from recsys.releases import promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

RUN = "manual__2026-11-28"
ACTOR = Actor.from_run(RUN, "complaints", "ada")


class KilledError(BaseException):
    """Stands for the end of the process."""


def promoted(releases: Releases, number: int) -> str:
    release_id = releases.candidate(number)
    releases.judge(release_id)
    promote_release(releases.services, release_id, actor=an_actor())
    return release_id


def champion(services: Services) -> str:
    with services.connect() as conn:
        found = ledger.champion(conn)
    assert found is not None
    return found.release_id


def test_a_task_that_is_tried_again_goes_back_one_step(services: Services, releases: Releases):
    """Killed at each step; the next try does not know what the one before has done."""
    first, second, third = (promoted(releases, number) for number in (1, 2, 3))
    committed = 0
    for at in itertools.count(1):
        run_id = f"{RUN}-{at}"
        actor = Actor.from_run(run_id, "complaints")
        steps = itertools.count(1)

        def die(step: str, at: int = at, steps: itertools.count[int] = steps) -> None:
            if next(steps) == at:
                raise KilledError

        try:
            roll_back(services, actor=actor, run_id=run_id, trace=die)
        except KilledError:
            committed += champion(services) == second
        else:
            break
        again = roll_back(services, actor=actor, run_id=run_id)
        assert (again.from_release, again.to_release) == (third, second), at
        assert champion(services) == second
        # Back to where the next one begins, with the first for a second step to find.
        releases.judge(third)
        promote_release(services, third, actor=an_actor())
    assert at > 5
    assert committed >= 1, "no kill after the commit"
    assert first != champion(services)


def test_a_try_that_still_runs_and_the_next_one_go_back_one_step(
    services: Services, releases: Releases
):
    """Airflow takes a process for dead that is not: both tries choose before either commits."""
    _, second, third = (promoted(releases, number) for number in (1, 2, 3))
    reached, go_on = threading.Event(), threading.Event()
    results = []

    def wait(step: str) -> None:
        if step == "release verified":
            reached.set()
            assert go_on.wait(30)

    def first_try() -> None:
        results.append(roll_back(services, actor=ACTOR, run_id=RUN, trace=wait))

    slow = threading.Thread(target=first_try)
    slow.start()
    assert reached.wait(30)
    next_try = threading.Thread(
        target=lambda: results.append(roll_back(services, actor=ACTOR, run_id=RUN))
    )
    next_try.start()
    go_on.set()
    slow.join()
    next_try.join()
    assert [(each.from_release, each.to_release) for each in results] == [(third, second)] * 2
    assert champion(services) == second


def test_another_run_goes_back_another_step(services: Services, releases: Releases):
    first, second, _ = (promoted(releases, number) for number in (1, 2, 3))
    assert roll_back(services, actor=ACTOR, run_id=RUN).to_release == second
    other = Actor.from_run("manual__2", "complaints")
    assert roll_back(services, actor=other, run_id="manual__2").to_release == first
    with pytest.raises(LedgerError, match="no earlier champion"):
        roll_back(services, actor=Actor.from_run("manual__3", "r"), run_id="manual__3")
