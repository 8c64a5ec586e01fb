"""Random lives of a world: what the ledger says must be what a simple model expects."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from recsys import ledger, releases
from recsys.errors import LedgerError, LockedError
from recsys.ledger import State
from recsys.releases import ChampionChange, RetentionSettings, lock
from recsys.releases.recovery import Trace
from tests.actors import an_actor
from tests.chaos import invariants
from tests.chaos.conftest import fresh_world

pytestmark = pytest.mark.slow
NUMBERS = st.integers(1, 4)
SERVED = (State.SUPERSEDED, State.ROLLED_BACK)


class Interrupted(BaseException):
    """Stands for a kill: no handler of the protocol catches it."""


class Life(RuleBasedStateMachine):
    """States of up to four releases, their champions when judged, and orders of the events."""

    servers: tuple = ()
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.states: dict[int, State] = {}
        self.judged: dict[int, int | None] = {}
        self.completed: list[int] = []
        self.served: list[int] = []
        self.dirty = False

    @initialize(past=st.sampled_from([(1, 2, 3), (1, 2), (1,), ()]))
    def new_world(self, past: tuple[int, ...]) -> None:
        """A world in which some releases have been champions, one after the other."""
        self.world = self.stack.enter_context(fresh_world(*self.servers))
        releases.recover_promotion(self.world.services, actor=an_actor("life"))
        for number in past:
            self.build(number)
            self.change_champion(number, back=False)

    def teardown(self) -> None:
        self.stack.close()

    @property
    def champion(self) -> int | None:
        return next((n for n, s in self.states.items() if s == State.CHAMPION), None)

    @property
    def previous(self) -> int | None:
        return next((n for n in reversed(self.served) if self.states[n] in SERVED), None)

    @property
    def target(self) -> int | None:
        return next((n for n in reversed(self.served) if self.states[n] == State.SUPERSEDED), None)

    @rule(number=NUMBERS)
    def build(self, number: int) -> None:
        state = self.states.get(number)
        if state == State.RETIRING:
            with pytest.raises(LockedError):
                self.world.begin(number)
            return
        if state is not None and State.BUILDING not in ledger.MOVES[state]:
            self.world.begin(number)  # Complete already: stays what it is.
            return
        self.judged[number] = self.champion
        self.world.candidate(number)
        self.states[number] = State.CANDIDATE
        self.completed = [n for n in self.completed if n != number] + [number]
        self.served = [n for n in self.served if n != number]

    @rule(number=NUMBERS)
    def reject(self, number: int) -> None:
        if self.states.get(number) == State.CANDIDATE:
            with self.world.services.connect() as conn:
                ledger.move(conn, self.world.id(number), State.REJECTED, actor=an_actor("a", "r"))
            self.states[number] = State.REJECTED

    @rule(number=NUMBERS, back=st.booleans())
    def change_champion(self, number: int, back: bool) -> None:
        if self.states.get(number) not in ledger.SERVABLE:
            with pytest.raises(LedgerError):
                self._change(number, back)
            return
        if not self._is_accepted(number, back):
            with pytest.raises(LedgerError, match="was accepted against an earlier champion"):
                self._change(number, back)
            self.judge(number)
        assert self._change(number, back).changed == (number != self.champion)
        self._moved(number, back)

    @rule(number=NUMBERS)
    def judge(self, number: int) -> None:
        if self.states.get(number) in ledger.SERVABLE:
            self.world.judge(self.world.id(number))
            self.judged[number] = None if number == self.champion else self.champion

    @rule()
    def roll_back(self) -> None:
        if self.target is None:
            with pytest.raises(LedgerError, match="no earlier champion"):
                releases.roll_back(self.world.services, actor=an_actor("life", "back"))
            return
        target = self.target
        releases.roll_back(self.world.services, actor=an_actor("life", "back"))
        self._moved(target, back=True)

    @rule(number=NUMBERS, back=st.booleans(), nth=st.integers(1, 9))
    def change_champion_and_die(self, number: int, back: bool, nth: int) -> None:
        if self.states.get(number) not in ledger.SERVABLE:
            return
        if not self._is_accepted(number, back):
            self.judge(number)
        steps = self._die_at(nth, lambda trace: self._change(number, back, trace))
        self.dirty = True
        if "switched" in steps:
            self._moved(number, back)
            # Unless it ended, the pointer may be old.
            self.dirty = True

    @rule(keep=st.integers(0, 3))
    def retire(self, keep: int) -> None:
        retired = self._retire(keep)
        expected = self._to_retire(keep)
        assert set(retired) == {self.world.id(n) for n in expected}
        self.states.update(dict.fromkeys(expected, State.RETIRED))
        self.dirty = False

    @rule(keep=st.integers(0, 2), nth=st.integers(1, 12))
    def retire_and_die(self, keep: int, nth: int) -> None:
        expected = self._to_retire(keep)
        self._die_at(nth, lambda trace: self._retire(keep, trace))
        self.dirty = True
        for number in expected:
            found = self.world.state(number)
            assert found in (self.states[number], State.RETIRING, State.RETIRED)
            self.states[number] = found

    @rule()
    def recover(self) -> None:
        found = releases.recover_promotion(self.world.services, actor=an_actor("life"))
        assert self.dirty or not found.needed
        self.dirty = False

    @rule(number=NUMBERS)
    def attempt_while_another_is_at_work(self, number: int) -> None:
        with (
            lock.promotion_lock(self.world.services),
            pytest.raises(LockedError, match="another promotion"),
        ):
            self._change(number, back=False)
        with (
            lock.promotion_lock(self.world.services),
            pytest.raises(LockedError, match="another promotion"),
        ):
            self._retire(keep=0)

    @invariant()
    def world_is_as_expected(self) -> None:
        Life.steps += 1
        check = invariants.production if self.dirty else invariants.recovered
        champion = self.champion
        assert check(self.world.services) == (champion and self.world.id(champion))
        with self.world.services.connect() as conn:
            found = {r.release_id: r.state for r in ledger.all_releases(conn)}
        assert found == {self.world.id(n): state for n, state in self.states.items()}

    def _is_accepted(self, number: int, back: bool) -> bool:
        if number == self.champion or (back and self.states[number] != State.CANDIDATE):
            return True
        return self.judged[number] == self.champion

    def _change(self, number: int, back: bool, trace: Trace = lambda step: None) -> ChampionChange:
        change = releases.roll_back if back else releases.promote_release
        return change(
            self.world.services, self.world.id(number), actor=an_actor("life", "test"), trace=trace
        )

    def _moved(self, number: int, back: bool) -> None:
        left = self.champion
        self.dirty = False
        if left == number:
            return
        if left is not None:
            self.states[left] = State.ROLLED_BACK if back else State.SUPERSEDED
        self.states[number] = State.CHAMPION
        self.served = [n for n in self.served if n != number] + [number]

    def _retire(self, keep: int, trace: Trace = lambda step: None) -> list[str]:
        retirement = releases.retire_old_releases(
            self.world.services,
            RetentionSettings(keep_releases=keep),
            actor=an_actor("life"),
            trace=trace,
        )
        assert retirement.skipped == {}
        return list(retirement.retired)

    def _to_retire(self, keep: int) -> set[int]:
        done = (State.RETIRING, State.RETIRED)
        complete = [n for n in self.completed if self.states[n] not in done]
        newest: list[int] = []
        for servable in (True, False):
            group = [n for n in complete if (self.states[n] in ledger.SERVABLE) == servable]
            newest += group[-keep:] if keep else []
        stay = {self.champion, self.previous, self.target, *newest}
        return {
            n
            for n, state in self.states.items()
            if state == State.RETIRING or (state in ledger.TERMINAL and n not in stay)
        }

    @staticmethod
    def _die_at(nth: int, run) -> list[str]:
        steps: list[str] = []

        def trace(step: str) -> None:
            steps.append(step)
            if len(steps) == nth:
                raise Interrupted(step)

        try:
            run(trace)
        except Interrupted:
            pass
        return steps


def test_any_life_keeps_the_invariants(postgres_server, s3_server, figure, monkeypatch):
    # Waiting for a lock that this very process holds would only take time.
    monkeypatch.setattr(lock.promotion_lock.__wrapped__, "__defaults__", (0.01,))
    Life.servers = (postgres_server, s3_server)
    run = settings(
        max_examples=16,
        stateful_step_count=20,
        derandomize=True,
        deadline=None,
        database=None,
        # Shrinking would take minutes; a life of twenty steps can be read as it is.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    Life.TestCase.settings = run
    Life.TestCase().runTest()
    figure(f"random lives: invariants held after each of {Life.steps} steps")
