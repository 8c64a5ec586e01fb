"""Two at once, and one that lives on after it has lost its right to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from recsys import ledger, releases
from recsys.errors import LockedError
from recsys.ledger import State
from recsys.releases import RetentionSettings, public_names, recover_promotion
from recsys.vectors import tables
from tests.actors import an_actor
from tests.chaos import invariants
from tests.chaos.conftest import World
from tests.chaos.processes import Child

Children = Callable[[World], Child]
IN_TRANSACTION = "update recsys.releases set state"


@pytest.fixture
def served(world: World, children: Children) -> tuple[World, Child, Child]:
    """Two children; release 1 was champion before 2; 3 is a candidate, 9 is to be retired."""
    one, other = children(world), children(world)
    for number in (1, 2, 3):
        world.candidate(number)
    for number in (1, 2):
        assert one.run("promote", world.id(number)).error is None
    world.discarded(9)
    return world, one, other


@pytest.mark.parametrize(
    ("first", "step", "second"),
    [
        ("promote", "journal opened", "promote"),
        ("promote", "model copied", "rollback"),
        ("promote", IN_TRANSACTION, "retire"),
        ("rollback", "model copied", "promote"),
        ("rollback", "switched", "recover"),
        ("retire", "marked as retiring", "promote"),
        ("recover", "recovery begun", "promote"),
    ],
)
def test_of_two_at_once_one_wins_and_the_other_says_so(served, first, step, second):
    world, one, other = served
    targets = {"promote": world.id(3), "rollback": world.id(1)}
    pause = {"pause_call" if step == IN_TRANSACTION else "pause_step": step}
    one.start(first, targets.get(first), **pause)
    one.reach(step)
    assert invariants.production(world.services) in (world.id(2), targets.get(first))
    late = other.run(second, targets.get(second), lock_wait_s=0.3)
    assert late.error == "LockedError"
    assert "another promotion, rollback or retirement" in late.text
    one.go_on()
    assert one.finish().error is None
    assert invariants.recovered(world.services) == targets.get(first, world.id(2))
    assert other.run(second, targets.get(second)).error is None
    expected = targets.get(second) or targets.get(first) or world.id(2)
    assert invariants.recovered(world.services) == expected
    assert world.state(9) == (State.RETIRED if "retire" in (first, second) else State.REJECTED)


def test_two_that_start_at_the_same_time_take_turns(served):
    """The later one is refused if the earlier one has replaced the champion that it was judged by.

    If the earlier one promotes the champion, nothing changes, and both succeed.
    """
    world, one, other = served
    for numbers in ((3, 1), (2, 3), (1, 2), (3, 2)):
        for child, number in zip((one, other), numbers, strict=True):
            child.start("promote", world.id(number))
        endings = [child.finish() for child in (one, other)]
        turns = sorted(
            zip(endings, numbers, strict=True), key=lambda pair: pair[0].times["lock taken"]
        )
        assert turns[0][0].error is None
        if turns[1][0].error is not None:
            ending, _ = turns.pop()
            assert ending.error == "LedgerError"
            assert "was accepted against an earlier champion" in ending.text
        last = turns[-1]
        assert invariants.recovered(world.services) == world.id(last[1])


@pytest.mark.parametrize(
    "step",
    ["lock taken", "release verified", "journal opened", "model copied", IN_TRANSACTION],
)
def test_a_promoter_that_lost_its_session_fails_and_does_no_harm(served, step):
    """Its Airflow task was given up and its session ended, yet its process goes on."""
    world, orphan, other = served
    pause = {"pause_call" if step == IN_TRANSACTION else "pause_step": step}
    orphan.start("promote", world.id(3), **pause)
    orphan.reach(step)
    world.terminate(world.lock_holder())
    assert other.run("rollback", world.id(1)).error is None
    assert invariants.recovered(world.services) == world.id(1)
    orphan.go_on()
    assert orphan.finish().error == "ServiceUnavailableError"
    assert invariants.recovered(world.services) == world.id(1)
    assert orphan.run("promote", world.id(3)).error is None
    assert invariants.recovered(world.services) == world.id(3)


def test_a_promoter_that_loses_its_session_after_the_switch_has_succeeded(served):
    world, orphan, other = served
    orphan.start("promote", world.id(3), pause_step="switched")
    orphan.reach("switched")
    world.terminate(world.lock_holder())
    assert other.run("rollback", world.id(1)).error is None
    orphan.go_on()
    assert orphan.finish().error is None
    assert invariants.recovered(world.services) == world.id(1)


@pytest.mark.parametrize(
    "step", ["marked as retiring", "views dropped", "tables dropped", "objects dropped"]
)
def test_a_retirement_that_lost_its_session_deletes_nothing_that_came_after(served, step):
    """What it was to retire has since been retired by another, built again and promoted."""
    world, orphan, other = served
    orphan.start("retire", pause_step=step)
    orphan.reach(step)
    world.terminate(world.lock_holder())
    assert other.run("retire").error is None
    assert world.state(9) == State.RETIRED
    world.candidate(9)
    assert other.run("promote", world.id(9)).error is None
    orphan.go_on()
    # The decision was the last that it did in this session; nothing is left for the next one.
    lost = None if step == "marked as retiring" else "ServiceUnavailableError"
    assert orphan.finish().error == lost
    assert invariants.recovered(world.services) == world.id(9)


def test_a_frozen_promoter_loses_lock_and_transaction(served):
    """A stopped process keeps its connection; the server must end its session by itself."""
    world, frozen, other = served
    for step, target in (("journal opened", 1), (IN_TRANSACTION, 2)):
        pause = {"pause_call" if step == IN_TRANSACTION else "pause_step": step}
        # Longer than a busy machine holds up what is at work, less than the lock is waited for.
        frozen.start("promote", world.id(3), idle_timeout="2s", **pause)
        frozen.reach(step)
        back = other.run("rollback", world.id(target))
        assert back.error is None, back.text
        champion = invariants.recovered(world.services)
        frozen.go_on()
        assert frozen.finish().error == "ServiceUnavailableError"
        assert invariants.recovered(world.services) == champion


def test_a_reader_of_an_old_release_does_not_hold_up_anything_but_its_retirement(
    served, monkeypatch
):
    world, child, _ = served
    monkeypatch.setattr(tables, "LOCK_TIMEOUT", "200ms")
    monkeypatch.setattr(public_names, "DROP_LOCK_TIMEOUT", "200ms")
    for number in (1, 2):
        assert child.run("promote", world.id(number)).error is None
        if number == 1:
            slow = psycopg.connect(world.services.postgres.dsn.get_secret_value())
            slow.execute("select count(*) from movie_vectors")
    assert child.run("promote", world.id(3)).error is None
    settings = RetentionSettings(keep_releases=0)
    with slow:
        retirement = releases.retire_old_releases(world.services, settings, actor=an_actor("chaos"))
        assert "is in use" in retirement.skipped[world.id(1)]
        assert child.run("rollback", world.id(2)).error is None
        assert invariants.production(world.services) == world.id(2)
        # The names are looked up anew by each statement: this is the champion of now.
        assert slow.execute("select count(*) from movie_vectors").fetchone() == (world.MOVIES,)
    releases.retire_old_releases(world.services, settings, actor=an_actor("chaos"))
    assert world.state(1) == State.RETIRED
    assert invariants.recovered(world.services) == world.id(2)


def test_an_empty_database_may_be_set_up_by_many_at_once(worlds):
    for _ in range(3):
        services = worlds().services
        start = threading.Barrier(6)

        def prepare(_: int, services=services, start=start) -> None:
            with services.connect() as conn:
                start.wait()
                ledger.prepare(conn)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(prepare, range(6)))
        assert not recover_promotion(services, actor=an_actor("chaos")).needed


def test_a_release_that_is_being_retired_can_be_neither_built_nor_promoted(served):
    world, one, other = served
    one.start("retire", pause_step="marked as retiring")
    one.reach("marked as retiring")
    with pytest.raises(LockedError, match="being retired"):
        world.begin(9)
    assert other.run("promote", world.id(9), lock_wait_s=0.3).error == "LockedError"
    one.kill()
    assert one.finish().killed
    refused = other.run("promote", world.id(9))
    assert refused.error == "LedgerError"
    assert "state retiring" in refused.text
    assert other.run("retire").error is None
    assert invariants.recovered(world.services) == world.id(2)
