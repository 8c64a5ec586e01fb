"""A copy to the public key that was on its way when its promotion was undone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from recsys import ledger
from recsys.contract import PUBLIC_MODEL_KEY
from recsys.ledger import Action
from recsys.releases import promote_release, public_copies_match, recover_and_watch
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos.tap import Call, Tap
from tests.kills import Killed


class DelayedCopy(Tap):
    """Keeps the copy to the public key on its way, and kills the process that sent it."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.store)
        self._deliver: Callable[[], Any] | None = None
        self.delivered = threading.Event()

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        if call.name.startswith("PUT") and PUBLIC_MODEL_KEY in call.name:
            self._deliver = proceed
            raise Killed
        return proceed()

    def deliver(self) -> None:
        assert self._deliver is not None, "no copy was sent"
        answer = self._deliver()
        assert answer.status_code == 200, answer.text
        self.delivered.set()


@pytest.mark.parametrize("has_champion", [True, False])
def test_a_copy_that_arrives_after_the_recovery_is_undone(services, releases, has_champion):
    champion = None
    if has_champion:
        champion = releases.candidate(1)
        promote_release(services, champion, actor=an_actor())
    interrupted = releases.candidate(2)
    delayed = DelayedCopy(services)
    with delayed, pytest.raises(Killed):
        promote_release(services, interrupted, actor=an_actor())

    def deliver_when_recovered(step: str) -> None:
        if step == "journal closed as undone":
            # The recovery ends while the copy arrives.
            threading.Thread(target=delayed.deliver).start()

    # It ends when it has found the copy, long before this time.
    found = recover_and_watch(services, actor=an_actor(), trace=deliver_when_recovered, watch_s=120)
    assert delayed.delivered.wait(timeout=120)
    assert found.undone == interrupted
    with services.connect() as conn:
        live = ledger.champion(conn)
        assert (live.release_id if live else None) == champion
        assert public_copies_match(services.store, live, read_model=True)
        history = [event["action"] for event in ledger.history(conn)]
    assert Action.PUBLIC_COPIES_REPAIRED in history


def test_a_recovery_without_an_interruption_does_not_watch(services, releases):
    promote_release(services, releases.candidate(1), actor=an_actor())
    assert not recover_and_watch(services, actor=an_actor(), watch_s=10**9).needed
