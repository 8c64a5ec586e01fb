"""Promotion requires an accepting decision or a person's override, which is recorded."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from recsys import ledger, monitoring
from recsys.errors import LedgerError
from recsys.gate import GateSettings, judge
from recsys.ledger import Actor, State
from recsys.releases import preview_promotion, promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.metrics_maker import GOOD, as_judged, with_rmse
from tests.release_maker import Releases

ADA = Actor("Ada Lovelace", "tests", "the holdout is known to be wrong")


def rejected(services: Services, releases: Releases, number: int) -> str:
    """Makes a candidate that the gate has rejected."""
    release_id = releases.without_decision(number)
    with services.connect() as conn:
        found = judge(as_judged(with_rmse(GOOD, 2.0)), None, GateSettings())
        assert not found.accepted
        ledger.record_decision(conn, release_id, None, "run", found, None)
        ledger.move(conn, release_id, State.REJECTED, actor=an_actor("t", found.reason))
    return release_id


def state(services: Services, release_id: str) -> State:
    with services.connect() as conn:
        return ledger.get(conn, release_id).state


def decisions(services: Services, release_id: str) -> list[tuple[bool, str]]:
    with services.connect() as conn:
        return conn.execute(
            "select accepted, run_id from recsys.decisions where release_id = %s order by id",
            (release_id,),
        ).fetchall()


def promote(services: Services, release_id: str) -> None:
    promote_release(services, release_id, actor=an_actor("ada", "I like it"))


@pytest.mark.parametrize("attempt", [promote, preview_promotion])
def test_a_candidate_without_a_decision_is_not_promoted(services, releases, attempt):
    release_id = releases.without_decision(1)
    with pytest.raises(LedgerError, match="the gate has not accepted") as caught:
        attempt(services, release_id)
    assert caught.value.found == "no decision"
    assert state(services, release_id) == State.CANDIDATE


def test_a_rollback_cannot_bypass_the_gate(services, releases):
    promote_release(services, releases.candidate(1), actor=an_actor())
    unjudged = releases.without_decision(2)
    with pytest.raises(LedgerError, match="the gate has not accepted"):
        roll_back(services, unjudged, actor=an_actor("ada", "back to the future"))


def test_a_decision_about_an_earlier_build_of_the_release_does_not_count(services, releases):
    release_id = releases.candidate(1)
    with services.connect() as conn:
        ledger.move(conn, release_id, State.REJECTED, actor=an_actor())
    assert releases.without_decision(1) == release_id
    with pytest.raises(LedgerError, match="the gate has not accepted"):
        promote_release(services, release_id, actor=an_actor())


def test_a_person_may_promote_a_rejected_release_and_the_override_is_recorded(services, releases):
    release_id = rejected(services, releases, 1)

    promote_release(services, release_id, override=True, actor=ADA)

    assert state(services, release_id) == State.CHAMPION
    assert decisions(services, release_id) == [(False, "run"), (True, "by hand")]
    found = monitoring.why(services, release_id)
    override = found["decision"]["override"]
    assert (override["actor"], override["reason"]) == (ADA.name, ADA.reason)
    assert "RMSE" in override["found"]
    assert [r["name"] for r in found["decision"]["rules"] if not r["passed"]]
    actions = [line["action"] for line in found["history"] if line["actor"] == "Ada Lovelace"]
    assert actions == ["moved", "moved", "gate_overridden"], "newest first"
    assert all(ADA.reason in line["reason"] for line in found["history"][:3])


def test_an_override_replaces_a_missing_decision(services, releases):
    release_id = releases.without_decision(1)
    promote_release(services, release_id, override=True, actor=ADA)
    assert state(services, release_id) == State.CHAMPION
    [(accepted, _)] = decisions(services, release_id)
    assert accepted


def test_an_override_of_an_accepted_release_is_not_recorded(services, releases):
    release_id = releases.candidate(1)
    promote_release(services, release_id, override=True, actor=ADA)
    assert decisions(services, release_id) == [(True, "run-1")]


def test_a_release_that_the_gate_accepted_and_a_person_rejected_can_be_promoted(services, releases):
    release_id = releases.candidate(1)
    with services.connect() as conn:
        ledger.move(conn, release_id, State.REJECTED, actor=an_actor("eve", "not today"))

    promote_release(services, release_id, override=True, actor=ADA)

    assert state(services, release_id) == State.CHAMPION
    assert decisions(services, release_id) == [(True, "run-1"), (True, "by hand")]
    override = monitoring.why(services, release_id)["decision"]["override"]
    assert override["actor"] == ADA.name


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"name": "root (recsys)"}, "only a named person"),
        ({"name": "root"}, "only a named person"),
        ({"name": ""}, "an actor and a reason"),
        ({"reason": "  "}, "an actor and a reason"),
    ],
)
def test_an_override_without_a_name_or_a_reason_changes_nothing(services, releases, fields, match):
    release_id = rejected(services, releases, 1)
    with pytest.raises(LedgerError, match=match):
        promote_release(services, release_id, override=True, actor=replace(ADA, **fields))
    assert state(services, release_id) == State.REJECTED
    assert decisions(services, release_id) == [(False, "run")]


def test_an_override_does_not_promote_a_release_that_is_not_complete(services, releases):
    release_id = releases.begin(1)
    with pytest.raises(LedgerError, match="cannot become the champion"):
        promote_release(services, release_id, override=True, actor=ADA)
    assert decisions(services, release_id) == []


def test_the_command_continues_after_a_kill_behind_the_override(services, releases):
    release_id = rejected(services, releases, 1)

    class KilledError(BaseException):
        pass

    def stop(step: str) -> None:
        if step == "gate overridden":
            raise KilledError

    with pytest.raises(KilledError):
        promote_release(services, release_id, override=True, actor=ADA, trace=stop)
    assert state(services, release_id) == State.CANDIDATE

    promote_release(services, release_id, override=True, actor=ADA)
    assert state(services, release_id) == State.CHAMPION
    assert len(decisions(services, release_id)) == 2, "an override is recorded once"


def test_an_override_does_not_count_as_a_successful_run(services, releases):
    release_id = releases.without_decision(1)
    promote_release(services, release_id, override=True, actor=ADA)
    with services.connect() as conn:
        assert ledger.last_success(conn) is None


def test_the_record_of_an_override_cannot_be_deleted(services, releases):
    promote_release(services, rejected(services, releases, 1), override=True, actor=ADA)
    with services.connect() as conn, pytest.raises(psycopg.errors.CheckViolation):
        conn.execute("delete from recsys.decisions")
