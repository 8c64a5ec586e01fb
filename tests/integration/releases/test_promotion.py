"""Promotion, rollback and recovery against real PostgreSQL and S3."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from recsys import ledger
from recsys.contract import PUBLIC_MODEL_KEY, PUBLIC_POINTER_KEY
from recsys.errors import ArtifactError, LedgerError, LockedError, RecsysError, VectorError
from recsys.ledger import State
from recsys.releases import lock, promote_release, promotion, recover_promotion, roll_back
from tests.actors import an_actor
from tests.live_release import Interrupted, assert_live, promote
from tests.release_damages import (
    age_manifest,
    damage_manifest,
    damage_model,
    lose_model,
    lose_row,
    lose_table,
)


def test_the_first_promotion_publishes_everything_together(services, releases):
    first = releases.candidate(1)
    change = promote(services, first)
    assert (change.changed, change.from_release) == (True, None)
    assert_live(services, first, releases.model_bytes(1))


def test_a_later_promotion_supersedes_the_champion(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    promote(services, second)
    assert_live(services, second, releases.model_bytes(2))
    with services.connect() as conn:
        assert ledger.get(conn, first).state == State.SUPERSEDED
        assert ledger.previous_champion(conn).release_id == first


def test_promoting_the_champion_again_changes_nothing(services, releases):
    first = releases.candidate(1)
    promote(services, first)
    assert not promote(services, first).changed
    assert_live(services, first, releases.model_bytes(1))


def test_rollback_restores_the_previous_champion_and_marks_the_replaced_release(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    promote(services, second)
    change = roll_back(services, actor=an_actor("operator", "complaints"))
    assert (change.from_release, change.to_release) == (second, first)
    assert_live(services, first, releases.model_bytes(1))
    with services.connect() as conn:
        assert ledger.get(conn, second).state == State.ROLLED_BACK
        line = ledger.history(conn, second)[0]
    assert (line["actor"], line["reason"]) == ("operator", "complaints")


def test_a_second_rollback_does_not_return_to_a_rolled_back_release(services, releases):
    made = [releases.candidate(n) for n in (1, 2, 3)]
    for release_id in made:
        promote(services, release_id)
    assert roll_back(services, actor=an_actor()).to_release == made[1]
    assert roll_back(services, actor=an_actor()).to_release == made[0]
    with pytest.raises(LedgerError, match="no earlier champion"):
        roll_back(services, actor=an_actor())
    assert roll_back(services, made[2], actor=an_actor()).changed
    assert_live(services, made[2], releases.model_bytes(3))


def test_rollback_without_an_earlier_champion_raises(services, releases):
    promote(services, releases.candidate(1))
    with pytest.raises(LedgerError, match="no earlier champion"):
        roll_back(services, actor=an_actor())


def test_an_incomplete_release_is_not_promoted(services, releases):
    with pytest.raises(LedgerError, match="cannot become the champion"):
        promote(services, releases.begin(1))
    assert_live(services, None, None)


def test_a_rejected_release_is_not_promoted(services, releases):
    release_id = releases.candidate(1)
    with services.connect() as conn:
        ledger.move(conn, release_id, State.REJECTED, actor=an_actor())
    with pytest.raises(LedgerError, match="cannot become the champion"):
        promote(services, release_id)


@pytest.mark.parametrize("text", ["00000000-00000000", "'; drop schema recsys cascade; --", ""])
def test_an_unknown_release_changes_nothing(services, releases, text):
    first = releases.candidate(1)
    promote(services, first)
    with pytest.raises(LedgerError):
        promote(services, text)
    assert_live(services, first, releases.model_bytes(1))


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (damage_model, ArtifactError),
        (lose_model, ArtifactError),
        (damage_manifest, ArtifactError),
        (age_manifest, ArtifactError),
        (lose_row, VectorError),
        (lose_table, VectorError),
    ],
)
@pytest.mark.parametrize("back", [False, True], ids=["promotion", "rollback"])
def test_a_damaged_release_is_detected_before_the_switch(services, releases, harm, error, back):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    if back:
        promote(services, second)
        live, target, model = second, first, releases.model_bytes(2)
    else:
        live, target, model = first, second, releases.model_bytes(1)
    releases.judge(target)
    harm(services, target)
    change = roll_back if back else promote_release
    with pytest.raises(error):
        change(services, target, actor=an_actor())
    assert_live(services, live, model)


def test_a_second_promoter_waits_for_the_lock_and_then_raises(services, releases):
    first = releases.candidate(1)
    with (
        lock.promotion_lock(services),
        pytest.raises(LockedError, match="another promotion") as caught,
    ):
        with lock.promotion_lock(services, wait_s=0.2):
            pass
    assert "session" in caught.value.found
    promote(services, first)


class StopAt:
    """Interrupts an operation at its n-th step."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if len(self.steps) == self.nth:
            raise Interrupted(step)

    @property
    def committed(self) -> bool:
        return "switched" in self.steps


def test_an_interrupted_first_promotion_leaves_nothing_or_everything(services, releases):
    first = releases.candidate(1)
    for nth in itertools.count(1):
        stop = StopAt(nth)
        with pytest.raises(Interrupted):
            promote_release(services, first, actor=an_actor(), trace=stop)
        recover_promotion(services, actor=an_actor("test"))
        if stop.committed:
            assert_live(services, first, releases.model_bytes(1))
            break
        assert_live(services, None, None)


@pytest.mark.parametrize("change", [promote_release, roll_back])
def test_recovery_after_an_interruption_at_every_step(services, releases, change):
    """Interrupts at every step that the operation traces, so that new steps are covered."""
    live, target = 1, 2
    releases.candidate(2)
    promote(services, releases.candidate(1))
    for nth in itertools.count(1):
        stop = StopAt(nth)
        target_id = releases.build(target).release_id
        releases.judge(target_id)
        try:
            change(services, target_id, actor=an_actor(), trace=stop)
        except Interrupted:
            recover_promotion(services, actor=an_actor("test"))
        else:
            break
        if stop.committed:
            live, target = target, live
        assert_live(services, releases.build(live).release_id, releases.model_bytes(live))
        assert not recover_promotion(services, actor=an_actor("test")).needed
    assert stop.committed
    assert nth > 8


def test_recovery_restores_changed_public_copies(services, releases):
    first = releases.candidate(1)
    promote(services, first)
    services.store.put_bytes(PUBLIC_MODEL_KEY, b"torn")
    services.store.delete([PUBLIC_POINTER_KEY])
    assert recover_promotion(services, actor=an_actor("test")).copies_restored
    assert_live(services, first, releases.model_bytes(1))


def test_recovery_works_on_an_empty_database(services):
    assert not recover_promotion(services, actor=an_actor("test")).needed


def test_a_failing_store_leaves_production_unchanged(services, releases, monkeypatch):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    copy = services.store.copy

    def fail(source, target, metadata):
        copy(source, target, metadata)
        raise ArtifactError("the copy failed")

    monkeypatch.setattr(services.store, "copy", fail)
    with pytest.raises(RecsysError):
        promote(services, second)
    monkeypatch.setattr(services.store, "copy", copy)
    recover_promotion(services, actor=an_actor("test"))
    assert_live(services, first, releases.model_bytes(1))
    promote(services, second)
    assert_live(services, second, releases.model_bytes(2))


def test_a_lost_connection_during_the_commit_is_settled_by_the_journal(
    services, releases, monkeypatch
):
    """The commit happened, but the response was lost: the promotion succeeded."""
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    commit = promotion.commit_change

    def commit_and_lose(conn, *args):
        commit(conn, *args)
        conn.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(promotion, "commit_change", commit_and_lose)
    assert promote(services, second).changed
    assert_live(services, second, releases.model_bytes(2))
