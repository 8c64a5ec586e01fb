"""Rules of the ledger, enforced by the code and by the database."""

from __future__ import annotations

import psycopg
import pytest

from recsys import ledger, monitoring
from recsys.contract import Baselines, Build, Metrics, Scores
from recsys.database import Connection
from recsys.errors import LedgerError, LockedError
from recsys.gate import GateSettings, judge
from recsys.gate.decision import override_decision
from recsys.ledger import MOVES, State
from recsys.services import Services
from tests.actors import an_actor
from tests.metrics_maker import GOOD, as_judged
from tests.release_maker import Releases


def build(number: int = 1) -> Build:
    return Build(
        dataset_md5=f"{number:032x}", trainer_digest=f"sha256:{'a' * 64}", settings={"n": number}
    )


def begin(conn, number: int = 1) -> ledger.Release:
    return ledger.begin_build(
        conn, build(number), run_id="run", run_nonce="n" * 8, actor=an_actor("test", "test")
    )


def force_state(conn, release_id: str, state: State) -> None:
    """Sets the state of a release past all rules."""
    conn.execute("alter table recsys.releases disable trigger user")
    conn.execute(
        "update recsys.releases set state = %s, manifest = '{}', completed_at = now() "
        "where release_id = %s",
        (state.value, release_id),
    )
    conn.execute("alter table recsys.releases enable trigger user")


def test_the_database_enforces_exactly_the_moves_of_the_code(conn):
    """Tries every pair of states with SQL that bypasses the code."""
    release_id = begin(conn).release_id
    allowed = set()
    for before in State:
        for after in set(State) - {before}:
            force_state(conn, release_id, before)
            if database_allows(conn, release_id, after):
                allowed.add((before, after))
    assert allowed == {(a, b) for a in State for b in MOVES[a]}


def database_allows(conn, release_id: str, to: State) -> bool:
    """Tries a move and rolls back before the checks at commit."""
    try:
        with ledger.acting(conn, an_actor()):
            conn.execute(
                "update recsys.releases set state = %s where release_id = %s",
                (to.value, release_id),
            )
            raise psycopg.Rollback
    except psycopg.errors.CheckViolation as error:
        if error.diag.constraint_name != "release_moves":
            raise
        return False
    return True


def test_a_change_without_actor_and_reason_is_refused(conn):
    release_id = begin(conn).release_id
    with pytest.raises(psycopg.errors.CheckViolation, match="needs an actor and a reason"):
        conn.execute(
            "update recsys.releases set state = 'abandoned' where release_id = %s", (release_id,)
        )
    with pytest.raises(LedgerError, match="needs an actor and a reason"):
        ledger.move(conn, release_id, State.ABANDONED, actor=an_actor("me", "  "))


def test_every_move_is_in_the_history_with_its_reason(conn):
    release_id = begin(conn).release_id
    ledger.move(conn, release_id, State.ABANDONED, actor=an_actor("ann", "gave up"))
    newest = ledger.history(conn, release_id)[0]
    assert (newest["actor"], newest["origin"], newest["reason"]) == ("ann", "tests", "gave up")
    assert (newest["from_state"], newest["to_state"]) == ("building", "abandoned")


@pytest.mark.parametrize(
    "statement",
    [
        "update recsys.history set reason = 'x'",
        "delete from recsys.history",
        "truncate recsys.history",
        "update recsys.decisions set accepted = true",
        "delete from recsys.releases",
        "delete from recsys.journal",
    ],
)
def test_records_are_append_only(conn, statement):
    begin(conn)
    with pytest.raises(psycopg.errors.CheckViolation, match="only ever added"):
        conn.execute(statement)


def test_there_is_never_a_second_champion(conn):
    first, second = begin(conn, 1).release_id, begin(conn, 2).release_id
    force_state(conn, first, State.CHAMPION)
    force_state(conn, second, State.CANDIDATE)
    with (
        pytest.raises(psycopg.errors.UniqueViolation, match="one_champion"),
        ledger.acting(conn, an_actor()),
    ):
        conn.execute(
            "update recsys.releases set state = 'champion' where release_id = %s", (second,)
        )


def test_the_champion_is_never_removed_without_a_successor(conn):
    release_id = begin(conn).release_id
    force_state(conn, release_id, State.CHAMPION)
    with pytest.raises(psycopg.errors.CheckViolation, match="may only be replaced"):
        ledger.move(conn, release_id, State.ROLLED_BACK, actor=an_actor())


def test_a_journal_refers_to_existing_releases(conn):
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        conn.execute(
            "insert into recsys.journal (kind, to_release, actor, reason) "
            "values ('promotion', '00000000-00000000', 'a', 'r')"
        )


def test_only_one_journal_is_open(conn):
    release_id = begin(conn).release_id
    insert = (
        "insert into recsys.journal (kind, to_release, actor, reason) "
        "values ('promotion', %s, 'a', 'r')"
    )
    conn.execute(insert, (release_id,))
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_open_journal"):
        conn.execute(insert, (release_id,))


def test_a_build_that_is_resumed_keeps_its_release(conn):
    first = begin(conn)
    ledger.move(conn, first.release_id, State.ABANDONED, actor=an_actor())
    again = begin(conn)
    assert again.release_id == first.release_id
    assert again.state == State.BUILDING


def test_a_release_that_is_being_retired_cannot_be_built(conn):
    release_id = begin(conn).release_id
    force_state(conn, release_id, State.RETIRING)
    with pytest.raises(LockedError):
        begin(conn)


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 17, "'; drop table recsys.releases; --", "00000000-0000000g", "é" * 17]
)
def test_text_that_is_not_a_release_id_is_refused_before_any_sql(conn, text):
    with pytest.raises(LedgerError, match="not a release id"):
        ledger.get(conn, text)


def test_an_unknown_release_is_named(conn):
    with pytest.raises(LedgerError, match="is not in the ledger"):
        ledger.get(conn, "00000000-00000000")


def test_the_table_of_moves_follows_the_code(conn):
    conn.execute("delete from recsys.release_moves where to_state = 'champion'")
    conn.execute("insert into recsys.release_moves values ('retired', 'champion')")
    ledger.prepare(conn)
    moves = {tuple(row) for row in conn.execute("select * from recsys.release_moves")}
    assert moves == {(str(a), str(b)) for a, targets in MOVES.items() for b in targets}


def test_lists_show_what_was_measured_in_place_of_what_the_trainer_stated(
    services: Services, releases: Releases
) -> None:
    release_id = releases.without_decision(1)

    def listed(conn: Connection) -> list[tuple[bool, float | None, float | None]]:
        [page] = ledger.list_releases(conn, limit=5)
        scores = Scores.model_validate(page.metrics)
        release = ledger.get(conn, release_id)
        assert (release.is_measured, release.scores) == (page.is_measured, scores)
        assert monitoring.release_facts(release)["metrics_are_measured"] == page.is_measured
        bias = Baselines.model_validate(page.baselines).bias
        return [(page.is_measured, scores.rmse, bias.rmse)]

    good = Metrics.model_validate(GOOD)
    with services.connect() as conn:
        assert listed(conn) == [(False, good.model.rmse, good.baselines.bias.rmse)]

    measured = {**GOOD, "model": {"rmse": 0.95}, "baselines": {"bias": {"rmse": 0.9}}}
    found = as_judged(measured).model_copy(update={"stated": GOOD, "measured": measured})
    decision = judge(found, None, GateSettings())
    assert not decision.accepted
    override = override_decision(decision, actor="ada", reason="a test")
    with services.connect() as conn:
        for one in (decision, override, decision.model_copy(update={"measured": None})):
            ledger.record_decision(conn, release_id, None, "run", one, None)
            assert listed(conn) == [(True, 0.95, 0.9)]
    assert override.measured == decision.measured
