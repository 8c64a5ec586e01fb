"""Promotion, rollback and recovery against real PostgreSQL and S3."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress

import psycopg
import pytest

from recsys import ledger, monitoring
from recsys.contract import (
    INBOX_PREFIX,
    MANIFEST_FILE,
    MODEL_FILE,
    PUBLIC_MODEL_KEY,
    PUBLIC_POINTER_KEY,
    PUBLIC_TABLES,
    STAGING_PREFIX,
    release_key,
    table_name,
)
from recsys.errors import ArtifactError, LedgerError, LockedError, RecsysError, VectorError
from recsys.ledger import State
from recsys.releases import (
    ChampionChange,
    RetentionSettings,
    live_tables,
    lock,
    promote_release,
    promotion,
    public_copies_match,
    recover_promotion,
    retire_old_releases,
    roll_back,
)
from tests.actors import an_actor
from tests.release_maker import Releases


def promote(services, release_id: str) -> ChampionChange:
    """Promotes a release that is judged against the champion of this moment, if it is complete."""
    with suppress(ValueError), services.connect() as conn:
        known = ledger.find(conn, release_id)
        if known is not None and known.state in ledger.SERVABLE:
            Releases(services).judge(release_id)
    return promote_release(services, release_id, actor=an_actor("test", "test"))


def assert_live(services, release_id: str | None, model: bytes | None) -> None:
    """Asserts that all public names belong to the same release."""
    with services.connect() as conn:
        champion = ledger.champion(conn)
        assert (champion.release_id if champion else None) == release_id
        assert public_copies_match(services.store, champion)
        assert conn.execute("select from recsys.journal where closed_at is null").fetchall() == []
        if release_id is None:
            assert live_tables(conn) == {}
            return
        assert live_tables(conn) == {t.name: table_name(t.name, release_id) for t in PUBLIC_TABLES}
        row = conn.execute("select release_id from recsys.current_release").fetchall()
        assert row == [(release_id,)]
    assert services.store.get_bytes(PUBLIC_MODEL_KEY) == model
    pointer = json.loads(services.store.get_bytes(PUBLIC_POINTER_KEY))
    assert pointer["release_id"] == release_id


def test_the_first_promotion_publishes_everything_together(services, releases):
    first = releases.candidate(1)
    change = promote(services, first)
    assert (change.changed, change.from_release) == (True, None)
    assert_live(services, first, releases.model_bytes(1))


def test_clients_find_the_public_names_without_settings(services, releases, prepared_dsn):
    promote(services, releases.candidate(1))
    with psycopg.connect(prepared_dsn) as plain:
        for table in PUBLIC_TABLES:
            rows = plain.execute(f"select count(*) from {table.name}").fetchone()
            assert rows[0] == (5 if table.id_column == "userid" else 12)


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


def damage_model(services, release_id):
    key = release_key(release_id, MODEL_FILE)
    data = bytearray(services.store.get_bytes(key))
    data[7] ^= 1
    services.store.put_bytes(key, bytes(data))


def lose_model(services, release_id):
    services.store.delete([release_key(release_id, MODEL_FILE)])


def damage_manifest(services, release_id):
    key = release_key(release_id, MANIFEST_FILE)
    data = services.store.get_bytes(key).replace(b'"rmse": 0.8', b'"rmse": 0.1')
    services.store.put_bytes(key, data)


def age_manifest(services, release_id):
    key = release_key(release_id, MANIFEST_FILE)
    data = services.store.get_bytes(key)
    services.store.put_bytes(key, data.replace(b'"manifest_schema": 1', b'"manifest_schema": 2'))


def lose_row(services, release_id):
    with services.connect() as conn:
        conn.execute(
            f"delete from recsys.{table_name('movie_vectors', release_id)} where movieid=3"
        )


def lose_table(services, release_id):
    with services.connect() as conn:
        conn.execute(f"drop table recsys.{table_name('movie_towers', release_id)} cascade")


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


class Interrupted(BaseException):
    """Simulates a kill: no handler of the protocol catches it."""


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


def test_the_site_role_can_read_after_every_switch(services, releases, prepared_dsn):
    promote(services, releases.candidate(1))
    with psycopg.connect(prepared_dsn, autocommit=True) as site:
        site.execute("set role recsys_site")
        for number in (2, 3):
            promote(services, releases.candidate(number))
            site.execute("select * from movie_vectors limit 1").fetchall()
            row = site.execute("select movie_towers_table from recsys.current_release").fetchone()
            site.execute(f"select * from {row[0]} limit 1").fetchall()


def test_prepared_readers_see_the_new_release_without_an_error(services, releases, prepared_dsn):
    promote(services, releases.candidate(1))
    with psycopg.connect(prepared_dsn, autocommit=True) as reader:
        query = "select vector::text from movie_vectors where movieid = 1"
        before = reader.execute(query, prepare=True).fetchone()
        promote(services, releases.candidate(2))
        assert reader.execute(query, prepare=True).fetchone() != before


def test_an_open_transaction_of_a_reader_does_not_delay_the_switch(
    services, releases, prepared_dsn
):
    first, second = releases.candidate(1), releases.candidate(2)
    promote(services, first)
    with psycopg.connect(prepared_dsn) as slow:
        slow.execute("select count(*) from movie_vectors")
        promote(services, second)
        assert_live(services, second, releases.model_bytes(2))


def test_retirement_keeps_champion_previous_and_the_newest(services, releases):
    made = [releases.candidate(n) for n in range(1, 6)]
    for release_id in made[:4]:
        promote(services, release_id)
    with services.connect() as conn:
        ledger.move(conn, made[4], State.REJECTED, actor=an_actor())
    retirement = retire_old_releases(
        services, RetentionSettings(keep_releases=1), actor=an_actor("test")
    )
    assert sorted(retirement.retired) == sorted(made[:2])
    with services.connect() as conn:
        for release_id in made[:2]:
            assert ledger.get(conn, release_id).state == State.RETIRED
            assert conn.execute(
                "select to_regclass(%s)",
                (f"recsys.{table_name('movie_vectors', release_id)}",),
            ).fetchone() == (None,)
            assert services.store.keys(f"releases/{release_id}/") == []
    assert_live(services, made[3], releases.model_bytes(4))
    roll_back(services, actor=an_actor())
    assert_live(services, made[2], releases.model_bytes(3))


def test_a_retired_release_cannot_be_rolled_back_to(services, releases):
    made = [releases.candidate(n) for n in (1, 2, 3)]
    for release_id in made:
        promote(services, release_id)
    retire_old_releases(services, RetentionSettings(keep_releases=0), actor=an_actor("test"))
    with pytest.raises(LedgerError, match="cannot become the champion"):
        roll_back(services, made[0], actor=an_actor())


def test_an_interrupted_retirement_continues(services, releases):
    settings = RetentionSettings(keep_releases=0)

    def retire(trace=lambda step: None):
        return retire_old_releases(services, settings, actor=an_actor("test"), trace=trace)

    for number in (1, 2, 3):
        promote(services, releases.candidate(number))
    names: list[str] = []
    retire(names.append)
    number = 3
    for stop in dict.fromkeys(names):
        number += 1
        promote(services, releases.candidate(number))

        def trace(step, stop=stop):
            if step == stop:
                raise Interrupted(step)

        with pytest.raises(Interrupted):
            retire(trace)
        retire()
        with services.connect() as conn:
            states = [r.state for r in ledger.all_releases(conn)]
        assert states.count(State.RETIRED) == number - 2
        assert State.RETIRING not in states
        assert_live(services, releases.build(number).release_id, releases.model_bytes(number))


def test_doctor_finds_no_problem_in_a_consistent_state(services, releases):
    promote(services, releases.candidate(1))
    releases.candidate(2)
    assert monitoring.problems(services) == []


def lose_public_model(services, release_id):
    services.store.delete([PUBLIC_MODEL_KEY])


def forget_in_ledger(services, release_id):
    """Simulates an older backup of the ledger: S3 has a newer release."""
    services.store.put_bytes("releases/ffffffff-ffffffff/manifest.json", b"{}")


def interrupt(services, release_id):
    with services.connect() as conn:
        ledger.begin_journal(conn, "promotion", None, release_id, an_actor())


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (damage_model, "differs from its manifest"),
        (lose_model, "there is no"),
        (damage_manifest, "was changed"),
        (age_manifest, "manifest"),
        (lose_row, "rows"),
        (lose_table, "movie_towers"),
        (lose_public_model, "recsys recover"),
        (forget_in_ledger, "older backup"),
        (interrupt, "open journal"),
    ],
)
def test_doctor_finds_and_explains(services, releases, harm, says):
    first = releases.candidate(1)
    promote(services, first)
    harm(services, first)
    found = monitoring.problems(services)
    assert any(says in problem for problem in found), found


def test_the_view_current_release_names_every_public_table(services, releases):
    """The view is created by a migration: a new public table needs a column in a new migration."""
    release_id = releases.candidate(1)
    promote(services, release_id)
    with services.connect() as conn:
        cursor = conn.execute("select * from recsys.current_release")
        [row] = cursor.fetchall()
        columns = [column.name for column in cursor.description or ()]
    tables = {
        name.removesuffix("_table"): value
        for name, value in zip(columns, row, strict=True)
        if name.endswith("_table")
    }
    assert tables == {
        table.name: f"recsys.{table_name(table.name, release_id)}" for table in PUBLIC_TABLES
    }


def test_rejections_do_not_use_up_the_releases_to_go_back_to(services, releases):
    made = [releases.candidate(n) for n in range(1, 5)]
    for release_id in made:
        promote(services, release_id)
    rejected = [releases.candidate(n) for n in range(5, 9)]
    with services.connect() as conn:
        for release_id in rejected:
            ledger.move(conn, release_id, State.REJECTED, actor=an_actor())
    settings = RetentionSettings(keep_releases=3)
    retirement = retire_old_releases(services, settings, actor=an_actor())
    assert set(retirement.retired) == {made[0], rejected[0]}
    roll_back(services, made[1], actor=an_actor())
    assert_live(services, made[1], releases.model_bytes(2))


def test_retirement_leaves_what_others_built_on_a_release_and_goes_on(services, releases):
    made = [releases.candidate(n) for n in range(1, 5)]
    promote(services, made[0])
    with services.connect() as conn:
        conn.execute("create schema shop")
        # Bound to the release that is live now, for ever.
        conn.execute("create view shop.vectors as select * from recsys_live.movie_vectors")
        conn.execute(
            "create function shop.count() returns bigint language sql "
            "begin atomic select count(*) from recsys_live.movie_towers; end"
        )
    for release_id in made[1:]:
        promote(services, release_id)
    settings = RetentionSettings(keep_releases=0)
    retirement = retire_old_releases(services, settings, actor=an_actor())
    assert retirement.retired == (made[1],), "the one behind it"
    assert "shop.count(), shop.vectors" in retirement.skipped[made[0]]
    assert any("shop.vectors" in problem for problem in monitoring.problems(services))
    with services.connect() as conn:
        assert ledger.get(conn, made[0]).state == State.SUPERSEDED
        assert conn.execute("select count(*), shop.count() from shop.vectors").fetchone() == (
            12,
            12,
        )
        conn.execute("drop schema shop cascade")
    assert retire_old_releases(services, settings, actor=an_actor()).retired == (made[0],)
    assert monitoring.problems(services) == []


def test_retirement_does_not_look_at_datasets_that_are_long_gone(services, releases, monkeypatch):
    for number in range(1, 6):
        promote(services, releases.candidate(number))
    settings = RetentionSettings(keep_releases=0)
    assert len(retire_old_releases(services, settings, actor=an_actor()).retired) == 3
    listed: list[str] = []
    keys = type(services.store).keys

    def spy(store, prefix):
        listed.append(prefix)
        return keys(store, prefix)

    monkeypatch.setattr(type(services.store), "keys", spy)
    retire_old_releases(services, settings, actor=an_actor())
    # What trainers and interrupted promotions have left: both are empty nearly always.
    assert set(listed) <= {STAGING_PREFIX, INBOX_PREFIX}
