"""Kills at random instants under readers: ``python -m tests.chaos.soak``, or ``make soak``.

A child process promotes, rolls back, retires or recovers, and is killed by SIGKILL at a random
instant of the time that the operation usually takes, while eight readers read. Production must be
whole after each kill, and in order after recovery. Prints what happened; the exit code is 1 if
anything was violated.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recsys import ledger
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.errors import RecsysError
from recsys.ledger import State
from recsys.releases import recover_promotion
from tests import watchdog
from tests.actors import an_actor
from tests.chaos import invariants, operations
from tests.chaos.conftest import World, fresh_world
from tests.chaos.processes import Child
from tests.chaos.test_readers import PROCESSES, READERS_EACH, RELEASES, reading

OPERATIONS = ("promote", "rollback", "retire", "recover")
WASTE = 9
"""Number of the rejected release that retirement has something to do for."""
OPENED = "journal opened"
CRITICAL_SHARE = 0.5
"""Share of the changes of the champion that are killed between journal and commit."""
LEAVE_SHARE = 0.3
"""Share of the kills after which the next operation finds an interrupted one."""


@dataclass
class Report:
    """What happened.

    Attributes:
        iterations: operations that were started.
        kills: operations that were killed, by name.
        steps: the steps that killed operations had reached last.
        recoveries: kills after which there was something to recover.
        reads: reads of all readers.
        errors: reads that failed.
        mixed: reads that saw two releases.
        torn: reads that saw a torn model.
        violations: what was wrong with production.
    """

    iterations: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    recoveries: int = 0
    reads: int = 0
    errors: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was violated."""
        return not (self.errors or self.mixed or self.torn or self.violations)

    def lines(self) -> Iterator[str]:
        """What to print."""
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        yield f"iterations: {self.iterations}, killed: {self.kills.total()} ({kills})"
        yield f"instants of the kills: after {len(self.steps)} different steps"
        yield (
            f"reads by {PROCESSES * READERS_EACH} readers: {self.reads}, errors: "
            f"{len(self.errors)}, mixed pairs: {len(self.mixed)}, torn models: {len(self.torn)}"
        )
        yield f"recoveries: {self.recoveries}, violations: {len(self.violations)}"
        for what in (self.errors, self.mixed, self.torn, self.violations):
            yield from (f"  {text}" for text in what[:10])


class Soak:
    """A world, a child that is killed, and the parent that recovers."""

    def __init__(self, world: World, child: Child, seed: int) -> None:
        self.world, self.child = world, child
        self.draw = random.Random(seed)  # noqa: S311 - a seed, not a secret
        self.report = Report()
        self.usual: dict[str, float] = {}
        self.critical: dict[str, float] = {}

    def prepare(self) -> None:
        """Makes the releases, and measures how long each operation takes."""
        for number in RELEASES:
            self.world.candidate(number)
        assert self.child.run("promote", self.world.id(RELEASES[0])).error is None
        for operation in OPERATIONS:
            release_id = self._order(operation)
            begin = time.monotonic()
            ending = self.child.run(operation, release_id)
            assert ending.error is None, ending.text
            self.usual[operation] = time.monotonic() - begin
            if OPENED in ending.times:
                self.critical[operation] = ending.times["switched"] - ending.times[OPENED]

    def iterate(self) -> None:
        """Starts an operation, kills it, and looks at the world."""
        services, report = self.world.services, self.report
        operation = self.draw.choice(OPERATIONS)
        report.iterations += 1
        release_id = self._order(operation)
        self.child.start(operation, release_id)
        duration = self.usual[operation]
        if operation in self.critical and self.draw.random() < CRITICAL_SHARE:
            # Most of an operation is checks, so that too few kills would hit what matters.
            self.child.reach(OPENED)
            duration = 1.2 * self.critical[operation]
        self.child.kill_after(self.draw.uniform(0, duration))
        ending = self.child.finish()
        if ending.error is not None:
            report.violations.append(f"{operation}: {ending.error}: {ending.text}")
        if ending.killed:
            report.kills[operation] += 1
            report.steps[f"{operation}: {[name for name, _ in ending.steps][-1:]}"] += 1
        what = f"iteration {report.iterations} ({operation})"
        try:
            champion = invariants.production(services)
            if ending.killed and self.draw.random() < LEAVE_SHARE:
                with services.connect() as conn:
                    report.recoveries += len(ledger.open_journals(conn))
                return
            report.recoveries += recover_promotion(services, actor=an_actor("recovery")).needed
            assert invariants.recovered(services) == champion, "recovery changed the champion"
        except (AssertionError, RecsysError) as error:
            report.violations.append(f"{what}: {type(error).__name__}: {error}"[:300])

    def _order(self, operation: str) -> str | None:
        """Prepares something to do for an operation; returns its release."""
        states = self._states()
        if State.RETIRING in states.values():
            # An interrupted retirement; a release cannot be built again before it has ended.
            operations.run(self.world.services, "retire", None, lambda step: None)
            states = self._states()
        for number in RELEASES:
            if states[number] == State.RETIRED:
                self.world.candidate(number)
        if operation == "retire" and states.get(WASTE) != State.REJECTED:
            self.world.discarded(WASTE)
        if operation in ("retire", "recover"):
            return None
        others = [number for number in RELEASES if states[number] != State.CHAMPION]
        release_id = self.world.id(self.draw.choice(others))
        operations.decide(self.world.services, operation, release_id)
        return release_id

    def _states(self) -> dict[int, State]:
        """Returns the state of each release, by its number."""
        numbers = {self.world.id(number): number for number in (*RELEASES, WASTE)}
        with self.world.services.connect() as conn:
            return {numbers[r.release_id]: r.state for r in ledger.all_releases(conn)}


def soak(world: World, child: Child, *, iterations: int, seed: int, limit_s: float) -> Report:
    """Iterates under readers.

    Args:
        world: an empty world.
        child: a process that carries out operations in it.
        iterations: number of operations.
        seed: of all that is random.
        limit_s: no iteration begins after so many seconds.
    """
    world.MOVIES, world.USERS, world.MODEL_REPEATS = 10, 4, 1 << 15
    run = Soak(world, child, seed)
    run.prepare()
    end = time.monotonic() + limit_s
    with reading(world) as found:
        try:
            while run.report.iterations < iterations and time.monotonic() < end:
                run.iterate()
        except BaseException:
            for process in found.processes:
                process.kill()
            raise
    report = run.report
    report.reads = found.reads.total()
    for error in found.errors:
        kind = report.errors
        if "AssertionError" in error:
            kind = report.torn if "torn" in error else report.mixed
        kind.append(error)
    return report


@contextmanager
def own_world() -> Iterator[World]:
    """A world on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        home = Home(Path(folder))
        postgres, s3 = Postgres(home), S3(home)
        try:
            with home.lock():
                postgres.start()
                s3.start()
            with fresh_world(postgres, s3) as world:
                yield world
        finally:
            with home.lock():
                s3.stop()
                postgres.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no iteration after that")
    arguments = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    print(f"seed: {seed}", flush=True)
    watchdog.start()
    begin = time.monotonic()
    child = Child()
    try:
        with own_world() as world:
            child.use(world.services)
            report = soak(
                world,
                child,
                iterations=arguments.iterations,
                seed=seed,
                limit_s=60 * arguments.minutes,
            )
    finally:
        child.close()
    for line in report.lines():
        print(line)
    print(f"took {time.monotonic() - begin:.0f} s")
    return 0 if report.is_good and report.reads else 1


if __name__ == "__main__":
    sys.exit(main())
