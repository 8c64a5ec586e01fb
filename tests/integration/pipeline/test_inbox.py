"""The trainer writes to its inbox; what is released is a checked copy that it cannot reach."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from recsys import ledger
from recsys.contract import (
    CANDIDATE_ARTIFACTS,
    EVALUATED_FILES,
    GOLDEN_FILE,
    GOLDEN_RECOMMENDATIONS_FILE,
    INBOX_PREFIX,
    MANIFEST_FILE,
    METRICS_FILE,
    MODEL_FILE,
    TRAINER_LOG_FILE,
    Manifest,
    forward_file,
    inbox_key,
    inbox_prefix,
    release_inbox_prefix,
    release_key,
    release_prefix,
)
from recsys.errors import ArtifactError, LockedError, ServiceUnavailableError
from recsys.ledger import State
from recsys.monitoring import problems
from recsys.pipeline import Run, begin_training, check_candidate
from recsys.releases import RetentionSettings, retire_old_releases
from recsys.releases.lock import admission_lock
from recsys.services import Services
from tests.actors import an_actor
from tests.chaos.tap import Call, Tap
from tests.integration.pipeline.test_hostile_model import HostileReleases, ReleasesWithZips
from tests.kills import Killed
from tests.release_maker import Releases

LOG = b"trained"


def train(maker: Releases, number: int, **changed: object) -> Run:
    """Writes a candidate as a trainer does, to the inbox of its run."""
    maker.ARTIFACTS = CANDIDATE_ARTIFACTS
    store = maker.services.store
    release_id = maker.begin(number)
    run = Run(run_id=f"run-{number}", source="s", build=maker.build(number))
    trainer_input = begin_training(maker.services, run)
    assert trainer_input is not None
    manifest = maker._manifest(number).model_copy(
        update={"run_nonce": trainer_input.run_nonce, **changed}
    )
    for key in store.keys(release_prefix(release_id)):
        # The maker writes to the release.
        name = key.removeprefix(release_prefix(release_id))
        store.copy(key, trainer_input.inbox_key(name), {})
    store.delete(store.keys(release_prefix(release_id)))
    store.put_bytes(trainer_input.inbox_key(MANIFEST_FILE), manifest.to_json())
    store.put_bytes(trainer_input.inbox_key(TRAINER_LOG_FILE), LOG)
    assert begin_training(maker.services, run) is None
    return run


def in_inbox(run: Run, name: str) -> str:
    return inbox_key(run.release_id, run.run_nonce, name)


def assert_admitted(maker: Releases, run: Run) -> None:
    """The release is whole and its inbox empty."""
    store, manifest = maker.services.store, manifest_of(maker, run)
    assert manifest is not None
    for artifact in manifest.artifacts:
        assert store.sha256(artifact.key) == artifact.sha256
    assert store.get_bytes(release_key(run.release_id, TRAINER_LOG_FILE)) == LOG
    assert store.keys(release_inbox_prefix(run.release_id)) == []


def manifest_of(maker: Releases, run: Run) -> Manifest | None:
    data = maker.services.store.find_bytes(release_key(run.release_id, MANIFEST_FILE))
    return None if data is None else Manifest.from_json(data)


@pytest.fixture
def maker(services) -> Releases:
    return ReleasesWithZips(services)


def test_a_candidate_is_moved_once_and_checked_again_by_a_retry(maker, services):
    run = train(maker, 1)
    for _ in range(2):
        assert check_candidate(services, run).run_nonce == run.run_nonce
        assert_admitted(maker, run)
        assert begin_training(services, run) is None


def test_stars_that_the_forward_test_has_not_read_yet_survive(maker, services):
    """It runs beside the training; what other runs have left of its kind goes."""
    run = train(maker, 1)
    name = forward_file("0123abcd-4567ef89")
    awaited = in_inbox(run, name)
    services.store.put_bytes(awaited, b"stars")
    services.store.put_bytes(inbox_key(run.release_id, "m" * 8, name), b"of an earlier run")
    check_candidate(services, run)
    assert services.store.keys(release_inbox_prefix(run.release_id)) == [awaited]


class AtRequest(Tap):
    """Does something before or after the n-th request to S3, or the n-th that writes."""

    def __init__(
        self, store: Any, nth: int, act: Callable[[], object], *, after: bool, writes: bool = False
    ) -> None:
        super().__init__(store)
        self.left, self._act, self._after, self._writes = nth, act, after, writes

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        if self._writes and not call.name.startswith(("PUT", "DELETE")):
            return proceed()
        self.left -= 1
        if self.left == 0 and not self._after:
            self._act()
        answer = proceed()
        if self.left == 0 and self._after:
            self._act()
        return answer


def die() -> None:
    raise Killed


def test_a_kill_after_a_write_is_followed_by_a_whole_release(maker, services, record_property):
    number, kills = 1, 0
    while True:
        run = train(maker, number)
        with (
            AtRequest(services.store, number, die, after=True, writes=True) as tap,
            suppress(Killed),
        ):
            check_candidate(services, run)
        if (manifest := manifest_of(maker, run)) is not None:
            # The manifest is the mark of a whole release.
            for artifact in manifest.artifacts:
                assert services.store.sha256(artifact.key) == artifact.sha256
        assert begin_training(services, run) is None
        check_candidate(services, run)
        assert_admitted(maker, run)
        if tap.left > 0:
            break
        # Every second one: the copies of the artifacts are alike, and so are the deletions.
        number, kills = number + 2, kills + 1
    record_property("figure", f"kills of verify_candidate: {kills}, each recovered")
    assert kills >= 10


class Overtaken(Tap):
    """Loses the lock before the n-th copy; meanwhile something else happens."""

    def __init__(self, services: Services, nth: int, act: Callable[[], None]) -> None:
        super().__init__(services.store)
        self._services, self._act, self.left = services, act, nth

    def s3(self, call: Call, request: Any, proceed: Callable[[], Any]) -> Any:
        answer = proceed()
        # The size of the next file to copy.
        if request.method == "HEAD":
            self.left -= 1
            if self.left == 0:
                with self._services.connect() as conn:
                    # As if the network of the machine were gone: PostgreSQL ends the session.
                    conn.execute(
                        "select pg_terminate_backend(pid, 10000) from pg_locks where "
                        "locktype = 'advisory' and granted and database = "
                        "(select oid from pg_database where datname = current_database())"
                    )
                self._act()
        return answer


def test_a_try_that_was_overtaken_changes_nothing(maker, services):
    """Not even if the trainer puts other files into the inbox, and the release is complete."""
    other = Services(postgres=services.postgres, s3=services.s3)
    for number in (1, 5):
        run = train(maker, number)

        def overtake(run: Run = run) -> None:
            check_candidate(other, run)
            manifest = manifest_of(maker, run)
            assert manifest is not None
            with other.connect() as conn:
                data = other.store.get_bytes(release_key(run.release_id, MANIFEST_FILE))
                ledger.complete(conn, manifest, hashlib.sha256(data).hexdigest(), actor=an_actor())
            for artifact in manifest.artifacts:
                other.store.put_bytes(in_inbox(run, artifact.name), bytes(artifact.size))

        tap = Overtaken(services, number, overtake)
        with tap, pytest.raises(ServiceUnavailableError):
            check_candidate(services, run)
        assert tap.left == 0
        check_candidate(services, run)
        assert_admitted(maker, run)


def test_a_second_try_waits_for_the_first(maker, services, monkeypatch):
    monkeypatch.setattr("recsys.releases.lock.LOCK_WAIT_S", 0.1)
    run = train(maker, 1)
    with admission_lock(services, run.release_id), pytest.raises(LockedError, match="another try"):
        check_candidate(services, run)
    check_candidate(services, run)
    assert_admitted(maker, run)


def refused(maker: Releases, run: Run, match: str) -> None:
    """The candidate is refused, nothing is released, and the next try trains again."""
    with pytest.raises(ArtifactError, match=match):
        check_candidate(maker.services, run)
    assert manifest_of(maker, run) is None
    assert begin_training(maker.services, run) is not None


def test_a_file_that_differs_from_its_manifest_is_refused_and_trained_again(maker, services):
    store = services.store
    run = train(maker, 1)
    whole = store.get_bytes(in_inbox(run, METRICS_FILE))
    store.put_bytes(in_inbox(run, METRICS_FILE), bytes(len(whole)))
    refused(maker, run, "differs from its manifest")
    run = train(maker, 2)
    store.put_bytes(in_inbox(run, METRICS_FILE), whole + b"more")
    refused(maker, run, "is not the file that the manifest names")
    run = train(maker, 3)
    store.delete([in_inbox(run, GOLDEN_FILE)])
    refused(maker, run, "is not the file that the manifest names")


def test_a_manifest_that_lies_is_refused(maker, services):
    run = train(maker, 1)
    artifacts = [
        artifact.model_copy(update={"size": artifact.size + 1})
        for artifact in maker._manifest(1).artifacts
    ]
    services.store.delete(services.store.keys(release_prefix(run.release_id)))
    document = Manifest.from_json(services.store.get_bytes(in_inbox(run, MANIFEST_FILE)))
    lying = document.model_copy(update={"artifacts": tuple(artifacts)})
    services.store.put_bytes(in_inbox(run, MANIFEST_FILE), lying.to_json())
    refused(maker, run, "is not the file that the manifest names")
    report = artifacts[0].model_copy(
        update={"name": "report.html", "key": release_key(run.release_id, "report.html")}
    )
    hostile = document.model_copy(update={"artifacts": (*document.artifacts, report)})
    services.store.put_bytes(in_inbox(run, MANIFEST_FILE), hostile.to_json())
    refused(maker, run, "is not a valid manifest")


def test_a_candidate_without_what_the_served_tables_are_compared_with_is_refused(maker, services):
    for number, left_out in enumerate((GOLDEN_RECOMMENDATIONS_FILE, *EVALUATED_FILES), 1):
        run = train(maker, number)
        document = Manifest.from_json(services.store.get_bytes(in_inbox(run, MANIFEST_FILE)))
        kept = tuple(one for one in document.artifacts if one.name != left_out)
        lacking = document.model_copy(update={"artifacts": kept})
        services.store.put_bytes(in_inbox(run, MANIFEST_FILE), lacking.to_json())
        refused(maker, run, "is not complete")


def test_a_model_that_hides_something_is_refused_before_it_is_released(services):
    maker = HostileReleases(services)
    run = train(maker, 1)
    refused(maker, run, "not a model's file")


def test_another_runs_inbox_is_not_used(maker, services):
    run = train(maker, 1)
    other = run.model_copy(update={"run_id": "run-of-another"})
    for key in services.store.keys(inbox_prefix(run.release_id, run.run_nonce)):
        name = key.rpartition("/")[2]
        services.store.copy(key, inbox_key(run.release_id, other.run_nonce, name), {})
    services.store.delete(services.store.keys(inbox_prefix(run.release_id, run.run_nonce)))
    with pytest.raises(ArtifactError, match="has no manifest"):
        check_candidate(services, run)


def test_what_the_trainer_changes_meanwhile_is_refused_or_not_released(maker, services):
    """At each request: either the whole candidate as its manifest says, or nothing."""
    plain = Services(postgres=services.postgres, s3=services.s3).store
    outcomes = set()
    for number in range(3, 36, 2):
        run = train(maker, number)
        forged = bytes(len(maker.model_bytes(number)))
        with AtRequest(
            services.store,
            number,
            lambda run=run, forged=forged: plain.put_bytes(in_inbox(run, MODEL_FILE), forged),
            after=False,
        ):
            try:
                check_candidate(services, run)
            except ArtifactError:
                outcomes.add("refused")
                assert manifest_of(maker, run) is None
                continue
        outcomes.add("released")
        found = services.store.get_bytes(release_key(run.release_id, MODEL_FILE))
        assert found == maker.model_bytes(number)
    assert outcomes == {"refused", "released"}


def test_a_complete_release_is_never_overwritten(maker, services):
    release_id = maker.candidate(1)
    key = release_key(release_id, MODEL_FILE)
    before = services.store.get_bytes(key)
    run = Run(run_id="run-1", source="s", build=maker.build(1))
    with services.connect() as conn:
        nonce = ledger.get(conn, release_id).run_nonce
    for name in (MODEL_FILE, MANIFEST_FILE):
        services.store.put_bytes(inbox_key(release_id, nonce, name), b"forged")
    check_candidate(services, run)
    assert services.store.get_bytes(key) == before
    assert services.store.keys(INBOX_PREFIX) == []


def test_a_candidate_of_an_older_trainer_is_still_verified_where_it_is(maker, services):
    release_id = maker.begin(1)
    run = Run(run_id="run-1", source="s", build=maker.build(1))
    trainer_input = begin_training(services, run)
    assert trainer_input is not None
    manifest = maker._manifest(1).model_copy(update={"run_nonce": trainer_input.run_nonce})
    key = release_key(release_id, MANIFEST_FILE)
    services.store.put_bytes(key, manifest.to_json())
    assert begin_training(services, run) is None
    check_candidate(services, run)
    # If it is damaged, it is built again.
    services.store.put_bytes(release_key(release_id, METRICS_FILE), b"torn")
    with pytest.raises(ArtifactError, match="differs from its manifest"):
        check_candidate(services, run)
    assert begin_training(services, run) is not None


def test_retirement_deletes_what_dead_trainers_left_and_nothing_else(maker, services):
    store = services.store
    building, given_up = train(maker, 1), train(maker, 2)
    served = maker.candidate(3)
    others = [f"{INBOX_PREFIX}README", f"{INBOX_PREFIX}0123abcd-4567ef89/x/model.keras"]
    for key in (*others, inbox_key(served, "a-late-trainer", MODEL_FILE)):
        store.put_bytes(key, b"x")
    with services.connect() as conn:
        ledger.move(conn, given_up.release_id, State.ABANDONED, actor=an_actor())
    named = [text for text in problems(services) if INBOX_PREFIX in text]
    assert len(named) == 2
    assert all("recsys retire" in text for text in named)
    retire_old_releases(services, RetentionSettings(), actor=an_actor())
    expected = {*others, *(key for key in store.keys(release_inbox_prefix(building.release_id)))}
    assert set(store.keys(INBOX_PREFIX)) == expected
    assert len(expected) > len(others)
    with services.connect() as conn:
        assert ledger.get(conn, given_up.release_id).state == State.RETIRED
    assert not [text for text in problems(services) if INBOX_PREFIX in text]
    digest = hashlib.sha256(store.get_bytes(in_inbox(building, MODEL_FILE))).hexdigest()
    assert digest == hashlib.sha256(maker.model_bytes(1)).hexdigest()
    check_candidate(services, building)
    assert_admitted(maker, building)
