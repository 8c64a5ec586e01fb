"""SIGKILL at every step and every call of an erasure; repeating it erases all the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from recsys import ledger
from recsys.contract import LIVE_SCHEMA, table_name
from recsys.ledger import State
from recsys.releases import public_names
from recsys.services import Services
from tests.chaos.conftest import World
from tests.chaos.processes import Ending
from tests.chaos.test_crashes import CALLS, STEPS, crashes, recover, tell

pytestmark = pytest.mark.slow
USER = 2
"""One of the two users of each release."""


def pending(services: Services) -> list[int]:
    with services.connect() as conn:
        return [e.user_id for e in ledger.erasures(conn) if e.user_id is not None]


def live_users(services: Services) -> list[int]:
    with services.connect() as conn:
        found = conn.execute("select userid from recsys_live.user_towers order by 1").fetchall()
    return [user for (user,) in found]


def forget_filters(world: World, number: int) -> None:
    """Makes view and table as they were before the first request."""
    table = sql.Identifier("recsys", table_name("user_towers", world.id(number)))
    with world.services.connect() as conn, conn.transaction():
        conn.execute(sql.SQL("drop view {}").format(sql.Identifier(LIVE_SCHEMA, "user_towers")))
        public_names.repair_views(conn, LIVE_SCHEMA, world.id(number))
        conn.execute(sql.SQL("alter table {} disable row level security").format(table))


def complete(world: World) -> None:
    """Completes all requests, so that the next one is the first that is pending."""
    with world.services.connect() as conn:
        ledger.complete_erasures(conn, [e.number for e in ledger.erasures(conn)])


def test_a_killed_request_is_recorded_and_hidden_or_neither(world: World, children, figure):
    world.candidate(1)
    child = children(world)
    assert child.run("promote", world.id(1)).error is None
    points = 0

    def run(doom: dict[str, int]) -> Ending:
        complete(world)
        forget_filters(world, 1)
        assert live_users(world.services) == [1, USER]
        return child.run("erase", str(USER), **doom)

    for _ in crashes(run):
        points += 1
        recorded = pending(world.services)
        assert recorded in ([], [USER])
        assert live_users(world.services) == ([1] if recorded else [1, USER])
        assert recover(world) == world.id(1)
        assert child.run("erase", str(USER)).error is None
        assert pending(world.services) == [USER]
        assert live_users(world.services) == [1]
    tell(figure, "a request to erase", points, least=20)


def test_a_killed_erasure_goes_on(world: World, children, figure):
    """The champion was built without the user; a rejected release that knows it is deleted."""
    world.candidate(1)
    child = children(world)
    assert child.run("promote", world.id(1)).error is None
    points, user = 0, 1000

    def run(doom: dict[str, int]) -> Ending:
        nonlocal user
        user += 1
        with world.services.connect() as conn:
            listed = ledger.erasures(conn)
        if listed:
            world.erased[9] = listed[-1].digest
        world.discarded(9)
        assert child.run("erase", str(user)).error is None
        cover(world, 1)
        return child.run("finish", **doom)

    for _ in itertools.chain(crashes(run, (STEPS,)), sampled_calls(run)):
        points += 1
        assert recover(world) == world.id(1)
        assert child.run("finish").error is None
        assert pending(world.services) == []
        assert world.state(9) == State.RETIRED
        assert world.state(1) == State.CHAMPION
    tell(figure, "an erasure", points, least=40)


def sampled_calls(run: Callable[[dict[str, int]], Ending]) -> Iterator[Ending]:
    """As `crashes` at calls, but at every sixth: most of them only read, a column each."""
    for nth in itertools.count(1, 6):
        ending = run({CALLS: nth})
        if not ending.killed:
            assert ending.error is None, ending.text
            return
        yield ending


def cover(world: World, number: int) -> None:
    """Says what the build of a release would: that it leaves out everybody so far."""
    with world.services.connect() as conn:
        ledger.cover_erasures(conn, world.id(number), ledger.newest_erasure(conn))


def test_an_erasure_and_a_rollback_exclude_each_other(world: World, children):
    for number in (1, 2):
        world.candidate(number)
    child, other = children(world), children(world)
    for number in (1, 2):
        assert child.run("promote", world.id(number)).error is None
    assert child.run("erase", "1000").error is None
    cover(world, 2)
    child.start("finish", pause_step="marked as retiring")
    child.reach("marked as retiring")
    assert other.run("rollback", world.id(1), lock_wait_s=0.2).error == "LockedError"
    child.go_on()
    assert child.finish().error is None
    assert pending(world.services) == []
    assert (world.state(1), world.state(2)) == (State.RETIRED, State.CHAMPION)
    assert other.run("rollback", world.id(1)).error == "LedgerError"
    assert recover(world) == world.id(2)


def test_two_erasures_and_a_retirement_at_once(world: World, children):
    world.candidate(1)
    child, other = children(world), children(world)
    assert child.run("promote", world.id(1)).error is None
    world.discarded(9)
    assert child.run("erase", "1000").error is None
    cover(world, 1)
    child.start("finish", pause_step="views dropped")
    child.reach("views dropped")
    # Both wait for the one that is deleting, and leave its release to it.
    assert other.run("retire").error is None
    child.go_on()
    assert child.finish().error is None
    assert other.run("finish").error is None
    assert pending(world.services) == []
    assert world.state(9) == State.RETIRED


def test_the_champion_is_not_deleted_while_it_knows_the_user(world: World, children):
    world.candidate(1)
    child = children(world)
    assert child.run("promote", world.id(1)).error is None
    assert child.run("erase", str(USER)).error is None
    assert "champion_knows=True" in child.run("finish").text
    assert recover(world) == world.id(1)
    assert live_users(world.services) == [1]
