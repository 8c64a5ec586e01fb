"""Every call to PostgreSQL and S3 fails once in every way, and once for good."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recsys.errors import RecsysError, TransientError
from recsys.ledger import State
from recsys.releases import recover_promotion
from tests.actors import an_actor
from tests.chaos import invariants, operations
from tests.chaos.conftest import World
from tests.chaos.faults import S3_FAULTS, SQL_FAULTS, Fault, broken_s3, closed_port

pytestmark = pytest.mark.slow


class Laboratory:
    """Runs operations with one fault each."""

    def __init__(self, world: World, broken_url: str, closed: int) -> None:
        self.world = world
        self.means = {
            "terminate": world.terminate,
            "broken_url": broken_url,
            "closed": closed,
        }
        self.tried: Counter[str] = Counter()

    def run(
        self, operation: str, release_id: str | None, service: str, kind: str, nth: int
    ) -> tuple[Fault, RecsysError | None]:
        """The fault as it hit (or not), and the error that the operation raised."""
        operations.decide(self.world.services, operation, release_id)
        store = self.world.services.store
        fault = Fault(store, kind=kind, service=service, nth=nth, **self.means)
        error = None
        with fault:
            try:
                operations.run(self.world.services, operation, release_id, fault.trace)
            except RecsysError as caught:
                error = caught
        self.tried[f"{service}: {kind}"] += fault.hit is not None
        return fault, error


@pytest.fixture
def laboratory(fragile_world: World) -> Iterator[Laboratory]:
    with broken_s3() as url, closed_port() as port:
        yield Laboratory(fragile_world, url, port)


def ignore_step(step: str) -> None:
    pass


def kinds(service: str) -> tuple[str, ...]:
    return SQL_FAULTS if service == "sql" else S3_FAULTS


def tell(figure: Callable[[str], None], operation: str, tried: Counter[str], least: int) -> None:
    total = sum(tried.values())
    parts = ", ".join(f"{kind} {count}" for kind, count in sorted(tried.items()))
    figure(f"faults in {operation}: {total}, each handled ({parts})")
    assert total >= least


@pytest.mark.parametrize("service", ["sql", "s3"])
def test_a_fault_in_a_promotion_or_a_rollback(laboratory: Laboratory, figure: Any, service: str):
    """It either says that it failed and the old pair is live, or the new pair is live.

    Both make the same calls; the faults go to one and the other in turn.
    """
    world = laboratory.world
    live, target = 1, 2
    world.candidate(live)
    world.candidate(target)
    operations.run(world.services, "promote", world.id(live), ignore_step)
    for kind, turn in zip(kinds(service), itertools.count()):
        for nth in itertools.count(1):
            operation = ("promote", "rollback")[(nth + turn) % 2]
            fault, error = laboratory.run(operation, world.id(target), service, kind, nth)
            champion = invariants.production(world.services)
            assert champion == world.id(live if error else target), (fault.hit, error)
            assert error is None or isinstance(error, TransientError), error
            # Before the journal is open all calls only look: then few tries again are enough.
            if error is None or "journal opened" in fault.steps or nth % 10 == 0:
                recover_promotion(world.services, actor=an_actor("recovery"))
                assert invariants.recovered(world.services) == champion
                if error is not None:
                    operations.run(world.services, operation, world.id(target), ignore_step)
                live, target = target, live
            if fault.hit is None:
                assert error is None
                break
    tell(figure, f"promotion and rollback ({service})", laboratory.tried, least=60)


@pytest.mark.parametrize("service", ["sql", "s3"])
def test_a_fault_in_a_retirement(laboratory: Laboratory, figure: Any, service: str):
    world = laboratory.world
    world.candidate(1)
    operations.run(world.services, "promote", world.id(1), ignore_step)
    world.discarded(9)
    for kind in kinds(service):
        for nth in itertools.count(1):
            fault, error = laboratory.run("retire", None, service, kind, nth)
            assert error is None or isinstance(error, TransientError), error
            if world.state(9) != State.REJECTED or nth % 10 == 0:
                assert invariants.production(world.services) == world.id(1)
                operations.run(world.services, "retire", None, ignore_step)
                assert world.state(9) == State.RETIRED
                assert invariants.recovered(world.services) == world.id(1)
                world.discarded(9)
            if fault.hit is None:
                assert error is None
                break
    tell(figure, f"retirement ({service})", laboratory.tried, least=60)


@pytest.mark.parametrize("service", ["sql", "s3"])
def test_a_fault_in_a_recovery(laboratory: Laboratory, figure: Any, service: str):
    world = laboratory.world
    world.candidate(1)
    world.candidate(2)
    operations.run(world.services, "promote", world.id(1), ignore_step)
    interrupt_a_promotion(world, 2)
    for kind in kinds(service):
        for nth in itertools.count(1):
            fault, error = laboratory.run("recover", None, service, kind, nth)
            assert error is None or isinstance(error, TransientError), error
            assert invariants.production(world.services) == world.id(1)
            if fault.steps:
                recover_promotion(world.services, actor=an_actor("recovery"))
                assert invariants.recovered(world.services) == world.id(1)
                interrupt_a_promotion(world, 2)
            if fault.hit is None:
                assert error is None
                break
    tell(figure, f"recovery ({service})", laboratory.tried, least=20)


class Interrupted(BaseException):
    """Stands for a kill: no handler of the protocol catches it."""


def interrupt_a_promotion(world: World, number: int) -> None:
    def trace(step: str) -> None:
        if step == "model copied":
            raise Interrupted

    operations.decide(world.services, "promote", world.id(number))
    with pytest.raises(Interrupted):
        operations.run(world.services, "promote", world.id(number), trace)


@pytest.mark.parametrize("service", ["sql", "s3"])
def test_a_server_that_stays_away_in_the_middle(laboratory: Laboratory, figure: Any, service: str):
    """From one call on all others fail too, those that would tidy up among them."""
    world = laboratory.world
    world.candidate(1)
    world.candidate(2)
    operations.run(world.services, "promote", world.id(1), ignore_step)
    live, target = 1, 2
    for nth in itertools.count(1):
        fault, error = laboratory.run("promote", world.id(target), service, "outage", nth)
        champion = invariants.production(world.services)
        # Whether the commit took place must be clear, even if nothing after it succeeded.
        assert champion == world.id(target if "switched" in fault.steps else live)
        assert (error is None) == (champion == world.id(target)), (fault.hit, error)
        recover_promotion(world.services, actor=an_actor("recovery"))
        assert invariants.recovered(world.services) == champion
        if champion == world.id(target):
            live, target = target, live
        if fault.hit is None:
            break
    tell(figure, f"outage ({service})", laboratory.tried, least=10)
