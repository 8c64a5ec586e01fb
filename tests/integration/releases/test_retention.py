"""Which releases retirement keeps, and what it leaves of the others."""

from __future__ import annotations

import pytest

from recsys import ledger, monitoring
from recsys.contract import INBOX_PREFIX, STAGING_PREFIX, table_name
from recsys.errors import LedgerError
from recsys.ledger import State
from recsys.releases import RetentionSettings, retire_old_releases, roll_back
from tests.actors import an_actor
from tests.live_release import Interrupted, assert_live, promote


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
