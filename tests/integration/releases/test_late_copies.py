"""A copy to a public key that was on its way when its process died or lost the lock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from recsys import ledger
from recsys.contract import (
    MODEL_FILE,
    PUBLIC_MODEL_KEY,
    PUBLIC_POINTER_KEY,
    RELEASE_ID_TAG,
    STAGING_PREFIX,
    release_key,
)
from recsys.errors import LockedError
from recsys.ledger import Action
from recsys.releases import (
    promote_release,
    public_copies_match,
    recover_and_watch,
    recover_promotion,
    retire_old_releases,
    roll_back,
)
from recsys.releases.retirement import RetentionSettings
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos.tap import Call, Tap
from tests.kills import Killed
from tests.s3_proxy import Headers, s3_proxy


class DelayedCopy(Tap):
    """Keeps the copy to a public key on its way, and kills the process that sent it."""

    def __init__(self, services: Services, key: str) -> None:
        super().__init__(services.store)
        self._key = key
        self._send: Callable[[], Any] | None = None

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        if self._send is None and call.name == f"PUT {self._key}":
            self._send = proceed
            raise Killed
        return proceed()

    def deliver(self) -> int:
        """Lets the copy arrive; returns the HTTP status of the server's answer."""
        assert self._send is not None, "no copy was sent"
        return int(self._send().status_code)


def live(services: Services) -> str | None:
    """The champion's id, whose public copies are whole."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
    assert public_copies_match(services.store, champion, read_model=True)
    assert services.store.keys(STAGING_PREFIX) == []
    return champion.release_id if champion else None


@pytest.mark.parametrize("has_champion", [True, False])
def test_a_copy_that_a_slow_network_delivers_after_the_recovery_fails(
    services, releases, has_champion
):
    champion = None
    if has_champion:
        champion = releases.candidate(1)
        promote_release(services, champion, actor=an_actor())
    interrupted = releases.candidate(2)
    sent, arrive = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def delay(method: str, path: str, headers: Headers) -> None:
        if method == "PUT" and path.endswith(PUBLIC_MODEL_KEY) and not sent.is_set():
            sent.set()
            assert arrive.wait(timeout=300)

    def promote(through: Services) -> None:
        try:
            promote_release(through, interrupted, actor=an_actor())
        except LockedError as error:
            errors.append(error)

    with s3_proxy(services.s3.endpoint, delay) as url:
        slow = services.s3.model_copy(update={"endpoint": url, "read_timeout": 300})
        promoter = threading.Thread(
            target=promote, args=(Services(postgres=services.postgres, s3=slow),)
        )
        promoter.start()
        assert sent.wait(timeout=300)
        with services.connect() as conn:
            # As if its machine had lost the network: PostgreSQL ends the session.
            conn.execute(
                "select pg_terminate_backend(pid, 10000) from pg_locks "
                "where locktype = 'advisory' and granted and database = "
                "(select oid from pg_database where datname = current_database())"
            )
        assert recover_promotion(services, actor=an_actor()).undone == interrupted
        assert live(services) == champion
        arrive.set()
        promoter.join(timeout=300)
    assert [error.message for error in errors] == [
        "another process undid this promotion while it was running"
    ]
    assert live(services) == champion


@pytest.mark.parametrize("later", ["promotion", "rollback", "recovery", "retirement"])
def test_a_copy_that_arrives_after_any_later_operation_fails(services, releases, later):
    first, second, interrupted = (releases.candidate(n) for n in (1, 2, 3))
    for release_id in (first, second):
        releases.judge(release_id)
        promote_release(services, release_id, actor=an_actor())
    releases.judge(interrupted)
    with DelayedCopy(services, PUBLIC_MODEL_KEY) as delayed, pytest.raises(Killed):
        promote_release(services, interrupted, actor=an_actor())
    expected = second
    if later == "promotion":
        releases.judge(first)
        expected = promote_release(services, first, actor=an_actor()).to_release
    elif later == "rollback":
        expected = roll_back(services, actor=an_actor()).to_release
    elif later == "recovery":
        recover_promotion(services, actor=an_actor())
    else:
        retire_old_releases(services, RetentionSettings(), actor=an_actor())
    assert live(services) == expected
    assert delayed.deliver() in (400, 404)
    assert live(services) == expected


def test_a_pointer_that_arrives_after_a_rollback_fails(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    promote_release(services, first, actor=an_actor())
    releases.judge(second)
    with DelayedCopy(services, PUBLIC_POINTER_KEY) as delayed, pytest.raises(Killed):
        promote_release(services, second, actor=an_actor())
    assert roll_back(services, actor=an_actor()).from_release == second
    assert delayed.deliver() in (400, 404)
    assert live(services) == first


def test_a_copy_of_a_recovery_that_arrives_after_a_promotion_fails(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    promote_release(services, first, actor=an_actor())
    services.store.delete([PUBLIC_MODEL_KEY])
    with DelayedCopy(services, PUBLIC_MODEL_KEY) as delayed, pytest.raises(Killed):
        recover_promotion(services, actor=an_actor())
    releases.judge(second)
    promote_release(services, second, actor=an_actor())
    assert delayed.deliver() in (400, 404)
    assert live(services) == second


@pytest.mark.parametrize("has_champion", [True, False])
def test_a_copy_that_the_server_ends_after_the_recovery_is_undone(services, releases, has_champion):
    champion = None
    if has_champion:
        champion = releases.candidate(1)
        promote_release(services, champion, actor=an_actor())
    interrupted = releases.candidate(2)
    with DelayedCopy(services, PUBLIC_MODEL_KEY), pytest.raises(Killed):
        promote_release(services, interrupted, actor=an_actor())
    arrived = threading.Event()

    def end_the_copy() -> None:
        # The server had read the staged object before the recovery deleted it.
        source = release_key(interrupted, MODEL_FILE)
        services.store.copy(source, PUBLIC_MODEL_KEY, {RELEASE_ID_TAG: interrupted})
        arrived.set()

    def when_recovered(step: str) -> None:
        if step == "journal closed as undone":
            threading.Thread(target=end_the_copy).start()

    # It ends when it has found the copy, long before this time.
    found = recover_and_watch(services, actor=an_actor(), trace=when_recovered, watch_s=120)
    assert arrived.wait(timeout=120)
    assert found.undone == interrupted
    assert live(services) == champion
    with services.connect() as conn:
        history = [event["action"] for event in ledger.history(conn)]
    assert Action.PUBLIC_COPIES_REPAIRED in history


def test_a_recovery_without_an_interruption_does_not_watch(services, releases):
    promote_release(services, releases.candidate(1), actor=an_actor())
    assert not recover_and_watch(services, actor=an_actor(), watch_s=10**9).needed


class Counted(Tap):
    """Counts the requests to S3 by method."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.store)
        self.requests: Counter[str] = Counter()

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        self.requests[call.name.split()[0]] += 1
        return proceed()


def test_the_fence_costs_five_requests_per_promotion(services, releases, record_property):
    promote_release(services, releases.candidate(1), actor=an_actor())
    target = releases.candidate(2)
    releases.judge(target)
    with Counted(services) as counted:
        promote_release(services, target, actor=an_actor())
    found = dict(counted.requests)
    record_property("figure", f"requests to S3 per promotion: {sum(found.values())} ({found})")
    # One model and one pointer: staged, copied, and the staged object deleted.
    assert (found["PUT"], found["DELETE"]) == (4, 2)
