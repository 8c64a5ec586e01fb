"""A promotion follows a decision against the live champion; no retry undoes what came after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recsys import ledger, pipeline
from recsys.errors import LedgerError
from recsys.gate import GateSettings, Memory
from recsys.ledger import Action, Actor, State
from recsys.pipeline import Run
from recsys.releases import preview_promotion, promote_release, roll_back
from recsys.services import Services
from tests.actors import an_actor
from tests.release_maker import Releases

ADA = Actor("Ada Lovelace", "tests", "it is better than both")


class Runs:
    """Runs the last steps of a run of the pipeline, as its tasks do."""

    def __init__(self, services: Services, releases: Releases) -> None:
        self.services = services
        self.releases = releases

    def of(self, number: int, run_id: str = "") -> Run:
        build = self.releases.build(number)
        return Run(run_id=run_id or f"run-{number}", source="s", build=build)

    def judge(self, number: int, run_id: str = "") -> str:
        """Makes the release if necessary, and judges it by the gate."""
        release_id = self.releases.build(number).release_id
        with self.services.connect() as conn:
            if ledger.find(conn, release_id) is None:
                self.releases.without_decision(number)
                self.releases.put_features(number)
        decision = pipeline.gate_candidate(self.services, self.of(number, run_id), GateSettings())
        assert decision.accepted, decision.reason
        return release_id

    def promote(self, number: int, run_id: str = "") -> bool:
        """Returns whether the task changed the champion."""
        run = self.of(number, run_id)
        actor = Actor.from_run(run.run_id, "the gate accepted it")
        return promote_release(
            self.services, run.release_id, actor=actor, run_id=run.run_id
        ).changed


@pytest.fixture
def runs(services: Services, releases: Releases) -> Runs:
    return Runs(services, releases)


@pytest.fixture
def served(runs: Runs) -> tuple[str, str]:
    """Two releases that two runs have judged and promoted: 1, then 2."""
    ids = []
    for number in (1, 2):
        ids.append(runs.judge(number))
        assert runs.promote(number)
    return ids[0], ids[1]


def champion(services: Services) -> str | None:
    with services.connect() as conn:
        live = ledger.champion(conn)
    return live.release_id if live else None


def assert_refused(services: Services, attempt: Callable[[], object], match: str) -> LedgerError:
    """Asserts that an attempt is refused and changes nothing that the ledger records."""
    with services.connect() as conn:
        before = (
            ledger.all_releases(conn),
            ledger.history(conn),
            ledger.list_releases(conn, limit=99),
        )
    with pytest.raises(LedgerError, match=match) as caught:
        attempt()
    with services.connect() as conn:
        assert ledger.open_journals(conn) == []
        after = (
            ledger.all_releases(conn),
            ledger.history(conn),
            ledger.list_releases(conn, limit=99),
        )
    assert after == before
    return caught.value


def test_a_retry_after_the_commit_changes_nothing_and_is_recorded_once(services, runs, served):
    assert not runs.promote(2)
    assert not runs.promote(2), "every other retry, too"
    with services.connect() as conn:
        events = [e for e in ledger.history(conn) if e["action"] == Action.ALREADY_CHAMPION]
    assert [(e["release_id"], e["run_id"]) for e in events] == [(served[1], "run-2")]
    assert champion(services) == served[1]


def test_a_retried_promotion_does_not_undo_a_rollback(services, runs, served):
    first, second = served
    roll_back(services, actor=an_actor("ada", "complaints"))
    error = assert_refused(services, lambda: runs.promote(2), "against an earlier champion")
    assert first in error.expected, "the decision is against it, but from before the rollback"
    assert "force" in error.hint
    assert champion(services) == first

    # Judged again in the same run, it goes live.
    runs.judge(2)
    assert runs.promote(2)
    assert champion(services) == second


def test_the_promotion_of_an_older_run_does_not_replace_a_newer_release(services, runs, served):
    assert_refused(services, lambda: runs.promote(1), "against an earlier champion")
    assert champion(services) == served[1]


def test_a_champion_that_was_replaced_and_came_back_is_another_one(services, runs, served):
    runs.judge(3)
    roll_back(services, served[0], actor=an_actor())
    roll_back(services, served[1], actor=an_actor())
    assert_refused(services, lambda: runs.promote(3), "against an earlier champion")


def test_a_run_promotes_only_what_it_has_accepted_itself(services, runs, served):
    runs.judge(3, "first")
    runs.judge(3, "second")
    assert_refused(services, lambda: runs.promote(3, "first"), "another run has judged")
    assert runs.promote(3, "second")


def test_a_candidate_that_was_accepted_against_another_champion_is_judged_again(
    services, runs, served
):
    two, three = runs.judge(3), runs.judge(4)
    person = an_actor("ada", "I like it")
    promote_release(services, three, actor=person)
    for attempt in (
        lambda: promote_release(services, two, actor=person),
        lambda: preview_promotion(services, two),
        lambda: roll_back(services, two, actor=person),
        lambda: runs.promote(3),
    ):
        error = assert_refused(services, attempt, "against an earlier champion")
        assert served[1] in error.found
        assert three in error.expected
    assert champion(services) == three

    runs.judge(3, "again")
    assert preview_promotion(services, two) is not None
    assert promote_release(services, two, actor=person).changed


def test_a_person_may_override_a_decision_against_another_champion(services, runs, served):
    two, three = runs.judge(3), runs.judge(4)
    promote_release(services, three, actor=an_actor())
    promote_release(services, two, actor=ADA, override=True)
    assert champion(services) == two
    with services.connect() as conn:
        standing = ledger.standing_decision(conn, two)
    assert standing.decision.override.actor == ADA.name
    assert standing.champion == three


def test_no_champion_counts_as_a_champion(services, runs):
    one, two = runs.judge(1), runs.judge(2)
    assert runs.promote(1)
    assert_refused(services, lambda: runs.promote(2), "against an earlier champion")
    assert_refused(
        services,
        lambda: promote_release(services, two, actor=an_actor()),
        "against an earlier champion",
    )
    assert champion(services) == one


def test_the_rejection_of_an_older_run_does_not_reject_what_was_accepted_since(services, runs):
    release_id = runs.judge(1, "old")
    runs.judge(1, "new")
    assert_refused(
        services,
        lambda: pipeline.reject_candidate(services, runs.of(1, "old"), actor=an_actor()),
        "judged again since",
    )
    pipeline.reject_candidate(services, runs.of(1, "new"), actor=an_actor("ada", "no"))
    with services.connect() as conn:
        assert ledger.get(conn, release_id).state == State.REJECTED


def test_past_promotions_are_read_with_what_their_decisions_recorded(
    services: Services, runs: Runs, served: tuple[str, str]
) -> None:
    first, second = served
    runs.judge(3)
    third = runs.of(3).release_id
    promote_release(services, third, actor=ADA, override=True)
    roll_back(services, second, actor=ADA)
    with services.connect() as conn:
        past = ledger.past_promotions(conn, 10)
        assert ledger.past_promotions(conn, 2) == past[:2]

    assert [(one.release_id, one.replaced) for one in past] == [
        (second, third),
        (third, second),
        (second, first),
        (first, None),
    ]
    assert [one.starts_anew for one in past] == ["rolled back by Ada Lovelace", "", "", ""]
    memories = [one.memory for one in past]
    assert memories[3] == Memory(
        starts_anew="there was no champion", because="there was no champion"
    )
    assert memories[2] is not None
    assert memories[2].rmse is not None
    assert memories[2].rmse.log == 0


def test_an_override_starts_the_memory_anew(
    services: Services, releases: Releases, served: tuple[str, str]
) -> None:
    unjudged = releases.without_decision(3)
    promote_release(services, unjudged, actor=ADA, override=True)
    with services.connect() as conn:
        newest = ledger.past_promotions(conn, 1)[0]
    assert newest.starts_anew == "override by Ada Lovelace"
