"""Retirement while others work: a rollback, a build of the same dataset, another retirement."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
import pytest

from recsys import contract, ledger
from recsys.contract import DATASET_FILE, Build
from recsys.errors import LockedError, ServiceUnavailableError
from recsys.ledger import Release, State
from recsys.releases import (
    RetentionSettings,
    Retirement,
    lock,
    promote_release,
    public_names,
    retire_old_releases,
    roll_back,
)
from recsys.releases import retirement as retirement_module
from recsys.services import Services
from recsys.vectors import tables
from tests.actors import an_actor
from tests.kills import Killed, kill_at
from tests.release_maker import Releases
from tests.s3_proxy import Headers, s3_proxy

NOTHING_MORE = RetentionSettings(keep_releases=0)
LONG = 120.0
"""Seconds after which a test fails instead of waiting for ever."""


@dataclass
class SlowDeletions:
    """A proxy in front of S3 that holds up deletions of certain keys until the test continues."""

    held: str
    """Part of the paths that are held up."""
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    deleted: list[str] = field(default_factory=list)

    def look(self, method: str, path: str, headers: Headers) -> None:
        if method == "DELETE":
            if self.held in path:
                self.reached.set()
                assert self.go_on.wait(LONG)
            self.deleted.append(path.partition("?")[0])


@dataclass
class Running:
    """A retirement in a thread that waits at a deletion."""

    slow: SlowDeletions
    result: Future[Retirement]

    def finish(self) -> Retirement:
        self.slow.go_on.set()
        return self.result.result(LONG)


@contextmanager
def retiring(services: Services, held: str) -> Iterator[Running]:
    """Runs a retirement up to the first deletion of a key; it ends when the block does."""
    slow = SlowDeletions(held)
    assert services.s3.endpoint
    with s3_proxy(services.s3.endpoint, slow.look) as url, ThreadPoolExecutor(1) as pool:
        through = Services(services.postgres, services.s3.model_copy(update={"endpoint": url}))
        result = pool.submit(retire_old_releases, through, NOTHING_MORE, actor=an_actor())
        result.add_done_callback(lambda _: slow.reached.set())
        try:
            assert slow.reached.wait(LONG)
            assert not result.done(), result.result()
            yield Running(slow, result)
        finally:
            slow.go_on.set()


def promoted(releases: Releases, number: int) -> str:
    """Makes a release and promotes it before another one is made, as its decision demands."""
    release_id = releases.candidate(number)
    promote_release(releases.services, release_id, actor=an_actor())
    return release_id


def state(services: Services, release_id: str) -> State:
    with services.connect() as conn:
        return ledger.get(conn, release_id).state


def begin(services: Services, build: Build, lock_timeout: str = "100ms") -> Release:
    with services.connect() as conn:
        conn.execute("select set_config('lock_timeout', %s, false)", (lock_timeout,))
        return ledger.begin_build(conn, build, run_id="again", run_nonce="m" * 8, actor=an_actor())


@pytest.fixture
def three(services: Services, releases: Releases) -> list[str]:
    """Releases that were promoted one after the other; the first one is to be retired."""
    return [promoted(releases, number) for number in (1, 2, 3)]


def test_promotions_and_rollbacks_succeed_during_a_long_deletion(
    services: Services, releases: Releases, three: list[str]
) -> None:
    with retiring(services, contract.release_prefix(three[0])) as running:
        # Nobody waits for the lock of promotions.
        with lock.promotion_lock(services, wait_s=0.0):
            pass
        assert roll_back(services, actor=an_actor()).to_release == three[1]
        promoted(releases, 4)
        assert not running.result.done()
        assert state(services, three[0]) == State.RETIRING
        retirement = running.finish()
    assert three[0] in retirement.retired
    assert state(services, three[0]) == State.RETIRED
    assert services.store.keys(contract.release_prefix(three[0])) == []


def test_a_release_is_not_built_again_before_its_deletion_has_ended(
    services: Services, releases: Releases, three: list[str]
) -> None:
    build = releases.build(1)
    with retiring(services, contract.release_prefix(three[0])) as running:
        with pytest.raises(LockedError, match="being retired"):
            begin(services, build)
        running.finish()
    assert begin(services, build).state == State.BUILDING
    deleted = len(running.slow.deleted)
    assert promoted(releases, 1) == three[0]
    assert len(running.slow.deleted) == deleted


def other_build(build: Build) -> Build:
    return build.model_copy(update={"settings": {"number": 99}})


def test_a_build_that_begins_during_the_deletion_keeps_its_dataset(
    services: Services, releases: Releases, three: list[str]
) -> None:
    build = releases.build(1)
    key = contract.dataset_key(build.dataset_md5, DATASET_FILE)
    services.store.put_bytes(key, b"zip")
    with retiring(services, contract.release_prefix(three[0])) as running:
        assert begin(services, other_build(build)).state == State.BUILDING
        assert running.finish().retired == (three[0],)
    assert services.store.keys(contract.dataset_prefix(build.dataset_md5)) == [key]


def test_a_build_waits_while_its_dataset_is_deleted(
    services: Services, releases: Releases, three: list[str]
) -> None:
    """It would find the files, not fetch them again, and then lose them."""
    build = releases.build(1)
    key = contract.dataset_key(build.dataset_md5, DATASET_FILE)
    services.store.put_bytes(key, b"zip")
    with retiring(services, contract.dataset_prefix(build.dataset_md5)) as running:
        with pytest.raises(LockedError, match="are being deleted"):
            begin(services, other_build(build))
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(begin, services, other_build(build), "60s")
            assert running.finish().retired == (three[0],)
            assert begun.result(LONG).state == State.BUILDING
    assert services.store.head(key) is None


def test_features_are_deleted_with_the_last_release_that_uses_them(
    services: Services, releases: Releases
) -> None:
    """Builds of one dataset: two with equal features, one with others, one of earlier code."""
    with services.connect() as conn:
        ledger.prepare(conn)
    md5 = releases.build(1).dataset_md5
    first, equal, other, earlier = builds = [
        releases.build(1).model_copy(update={"settings": settings})
        for settings in (
            {"number": 1},
            {"number": 2},
            {"features": {"holdout_share": 0.3}},
            {"number": 3},
        )
    ]
    for build in builds:
        begin(services, build)
    with services.connect() as conn:
        conn.execute(
            "update recsys.releases set features_prefix = null where release_id = %s",
            (earlier.release_id,),
        )
        found = {r.release_id: r.features_prefix for r in ledger.all_releases(conn)}
    old_place = contract.dataset_features_prefix(md5)
    assert first.features_prefix == equal.features_prefix != other.features_prefix
    assert [found[build.release_id] for build in builds] == [
        *(build.features_prefix for build in builds[:3]),
        old_place,
    ]
    places = (first.features_prefix, other.features_prefix, old_place)
    dataset = contract.dataset_key(md5, DATASET_FILE)
    titles = contract.titles_key(md5)
    kept = {
        place: {
            contract.features_key(place, "stats.json"),
            contract.features_key(place, "interactions.parquet"),
            contract.drift_key(place, md5),
        }
        for place in places
    }
    for key in {dataset, titles}.union(*kept.values()):
        services.store.put_bytes(key, b"made")

    def retire(build: Build) -> set[str]:
        with services.connect() as conn:
            ledger.move(conn, build.release_id, State.ABANDONED, actor=an_actor())
        done = retire_old_releases(services, NOTHING_MORE, actor=an_actor())
        assert done.retired == (build.release_id,)
        return {*services.store.keys("features/"), *services.store.keys("datasets/")}

    one, two, three = places
    assert retire(first) == {dataset, titles} | kept[one] | kept[two] | kept[three]
    assert retire(earlier) == {dataset, titles} | kept[one] | kept[two]
    assert retire(equal) == {dataset, titles} | kept[two]
    assert retire(other) == set()


def test_two_retirements_do_not_delete_at_the_same_time(
    services: Services,
    releases: Releases,
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.0)
    with retiring(services, contract.release_prefix(three[0])) as running:
        promoted(releases, 4)
        second = retire_old_releases(services, NOTHING_MORE, actor=an_actor())
        assert second.retired == ()
        assert set(second.skipped) == {three[0], three[1]}
        assert "another retirement is deleting" in second.skipped[three[1]]
        assert running.finish().retired == (three[0],)
    assert state(services, three[1]) == State.RETIRING
    third = retire_old_releases(services, NOTHING_MORE, actor=an_actor())
    assert third.retired == (three[1],)


def test_a_deletion_without_its_session_deletes_nothing_more(
    services: Services, three: list[str]
) -> None:
    """Another process may have finished the retirement, and the release may be built again."""
    with retiring(services, contract.release_prefix(three[0])) as running:
        with services.connect() as conn:
            conn.execute(
                "select pg_terminate_backend(pid, 10000) from pg_locks "
                "where locktype = 'advisory' and granted and objid = %s",
                (0x5EC5_0003,),
            )
        before = len(services.store.keys(contract.release_prefix(three[0])))
        with pytest.raises(ServiceUnavailableError):
            running.finish()
    # The one that was on its way.
    assert len(services.store.keys(contract.release_prefix(three[0]))) == before - 1
    assert state(services, three[0]) == State.RETIRING
    assert retire_old_releases(services, NOTHING_MORE, actor=an_actor()).retired == (three[0],)


def test_a_stuck_reader_of_an_old_release_does_not_delay_a_rollback(
    services: Services, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((tables, "LOCK_TIMEOUT"), (public_names, "DROP_LOCK_TIMEOUT")):
        # Longer than a rollback waits for its lock, shorter than a statement may take.
        monkeypatch.setattr(module, name, "18s")
    made = [promoted(releases, 1)]
    marked = threading.Event()

    def trace(step: str) -> None:
        if step == "marked as retiring":
            marked.set()

    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(services.postgres.dsn.get_secret_value()) as reader:
            reader.execute("select count(*) from recsys_live.movie_vectors")
            made += [promoted(releases, number) for number in (2, 3)]
            result = pool.submit(
                retire_old_releases, services, NOTHING_MORE, actor=an_actor(), trace=trace
            )
            assert marked.wait(LONG)
            assert roll_back(services, actor=an_actor()).to_release == made[1]
        assert result.result(LONG).retired == (made[0],)


def test_many_releases_are_retired_in_several_turns(
    services: Services, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promotion lock is free between them."""
    monkeypatch.setattr(retirement_module, "BATCH", 1)
    made = [promoted(releases, number) for number in range(1, 6)]
    free: list[bool] = []

    def trace(step: str) -> None:
        if step == "views dropped":
            with suppress(LockedError), lock.promotion_lock(services, wait_s=0.0):
                free.append(True)

    retirement = retire_old_releases(services, NOTHING_MORE, actor=an_actor(), trace=trace)
    assert retirement.retired == tuple(made[:3])
    assert free == [True] * 3


@pytest.mark.parametrize("step", ["marked as retiring", "dataset dropped"])
def test_a_killed_retirement_of_several_is_continued(
    services: Services,
    releases: Releases,
    step: str,
) -> None:
    made = [promoted(releases, number) for number in (1, 2, 3, 4)]
    with suppress(Killed):
        retire_old_releases(services, NOTHING_MORE, actor=an_actor(), trace=kill_at(step))
    assert State.RETIRING in {state(services, release_id) for release_id in made[:2]}
    retire_old_releases(services, NOTHING_MORE, actor=an_actor())
    assert [state(services, release_id) for release_id in made[:2]] == [State.RETIRED] * 2
    assert services.store.keys(contract.release_prefix(made[0])) == []
