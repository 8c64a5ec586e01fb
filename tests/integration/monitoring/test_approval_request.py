"""What the ledger tells a person who has to approve a candidate."""

from __future__ import annotations

from recsys import ledger, monitoring
from recsys.ledger import State
from recsys.releases import compare_releases, promote_release, roll_back
from tests.actors import an_actor


def test_a_first_candidate_replaces_nothing(services, releases):
    found = monitoring.read_approval_request(services, releases.candidate(1))
    assert (found.state, found.champion, found.diff) == (State.CANDIDATE, None, None)
    assert found.decision is not None
    assert found.rolled_back is None
    assert [metric.name for metric in found.metrics][:2] == ["RMSE", "NDCG@10"]


def test_a_release_that_was_rolled_back_is_recognized_when_it_is_judged_again(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    promote_release(services, first, actor=an_actor())
    releases.judge(second)
    promote_release(services, second, actor=an_actor())
    roll_back(services, first, actor=an_actor("mary", "complaints about westerns"))
    with services.connect() as conn:
        decided = ledger.last_decision(conn, second)
        assert decided is not None
        diff = compare_releases(conn, first, second).model_dump(mode="json")
        ledger.record_decision(conn, second, first, "manual__2", decided[0], diff)

    found = monitoring.read_approval_request(services, second)

    assert found.state == State.ROLLED_BACK
    assert found.champion == first
    assert found.champion_since is not None
    assert found.diff == diff
    assert found.rolled_back is not None
    assert (found.rolled_back.actor, found.rolled_back.reason) == (
        "mary",
        "complaints about westerns",
    )


def test_damaged_metrics_do_not_keep_a_person_from_answering(services, releases):
    release_id = releases.candidate(1)
    with services.connect() as conn:
        conn.execute("alter table recsys.releases disable trigger user")
        conn.execute(
            "update recsys.releases set manifest = jsonb_set(manifest, '{metrics}', '7') "
            "where release_id = %s",
            (release_id,),
        )
        conn.execute("alter table recsys.releases enable trigger user")
    assert monitoring.read_approval_request(services, release_id).metrics == ()
