"""SIGKILL at every step and every call of every operation; recovery makes all whole again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from recsys.ledger import State
from recsys.releases import recover_promotion
from tests.actors import an_actor
from tests.chaos import invariants
from tests.chaos.conftest import World, Worlds
from tests.chaos.processes import Child, Ending

Children = Callable[[World], Child]
pytestmark = pytest.mark.slow


STEPS, CALLS = "kill_step", "kill_call"


def crashes(
    run: Callable[[dict[str, int]], Ending], ways: tuple[str, ...] = (STEPS, CALLS)
) -> Iterator[Ending]:
    """Runs an operation over and over, killed one step or one call later each time.

    Ends when it has run to its end under either way of killing, so that a step or call that is
    new in the code is found by itself.
    """
    for way in ways:
        for nth in itertools.count(1):
            ending = run({way: nth})
            if not ending.killed:
                assert ending.error is None, ending.text
                break
            yield ending


def recover(world: World) -> str | None:
    """Production is whole before recovery, and in order with the same champion after it."""
    before = invariants.production(world.services)
    recover_promotion(world.services, actor=an_actor("recovery"))
    after = invariants.recovered(world.services)
    assert after == before
    return after


def tell(figure: Callable[[str], None], operation: str, points: int, least: int) -> None:
    figure(f"crash points of {operation}: {points}, each recovered")
    assert points >= least


@pytest.mark.parametrize("operation", ["promote", "rollback"])
def test_a_killed_change_of_champion_is_recovered(world: World, children, figure, operation):
    live, target = 1, 2
    world.candidate(live)
    world.candidate(target)
    child = children(world)
    assert child.run("promote", world.id(live)).error is None
    points = 0

    def run(doom: dict[str, int]) -> Ending:
        return child.run(operation, world.id(target), **doom)

    for ending in crashes(run):
        points += 1
        champion = recover(world)
        if champion == world.id(target):
            live, target = target, live
        else:
            assert not ending.committed
            assert champion == world.id(live)
    tell(figure, operation, points, least=60)


def test_a_killed_first_promotion_is_recovered(worlds: Worlds, children, figure):
    world, child, points = None, None, 0

    def run(doom: dict[str, int]) -> Ending:
        nonlocal world, child
        if world is None:
            world = worlds()
            world.candidate(1)
            recover_promotion(world.services, actor=an_actor("first"))
            child = children(world)
        return child.run("promote", world.id(1), **doom)

    # With a predecessor or without, the calls are the same; those are tried above.
    for ending in crashes(run, ways=(STEPS,)):
        points += 1
        if recover(world) is not None:
            world = None
        else:
            assert not ending.committed
    tell(figure, "the first promotion", points, least=8)


@pytest.mark.parametrize("step", ["model copied", "switched"])
def test_a_killed_recovery_is_recovered(world: World, children, figure, step):
    """Each recovery has an interrupted promotion to deal with, and is killed while it does."""
    world.candidate(1)
    world.candidate(2)
    child = children(world)
    assert child.run("promote", world.id(1)).error is None
    live, target, points = 1, 2, 0

    def run(doom: dict[str, int]) -> Ending:
        nonlocal live, target
        ended = child.run("promote", world.id(target), kill_step=place)
        assert ended.killed
        assert ended.steps[-1][0] == step
        if ended.committed:
            live, target = target, live
        return child.run("recover", **doom)

    probe = child.run("promote", world.id(target))
    place = [name for name, _ in probe.steps].index(step) + 1
    live, target = target, live
    for _ in crashes(run):
        points += 1
        assert recover(world) == world.id(live)
        assert not recover_promotion(world.services, actor=an_actor("recovery")).needed
    tell(figure, f"recovery after '{step}'", points, least=10)


def test_a_killed_retirement_goes_on(world: World, children, figure):
    world.candidate(1)
    child = children(world)
    assert child.run("promote", world.id(1)).error is None
    points = 0

    def run(doom: dict[str, int]) -> Ending:
        if points == 0 or world.state(9) == State.RETIRED:
            world.discarded(9)
        return child.run("retire", **doom)

    for _ in crashes(run):
        points += 1
        assert recover(world) == world.id(1)
        if points % 2:
            # Every other time the next killed retirement takes up what this one left.
            assert child.run("retire").error is None
            assert world.state(9) == State.RETIRED
    assert invariants.recovered(world.services) == world.id(1)
    assert world.state(9) == State.RETIRED
    tell(figure, "retirement", points, least=25)
