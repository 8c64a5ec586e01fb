"""Differences between two releases."""

from __future__ import annotations

import pytest

from recsys import ledger
from recsys.contract import table_name
from recsys.errors import LedgerError, VectorError
from recsys.releases import compare_releases, preview_promotion, promote_release
from tests.actors import an_actor


def test_a_release_equals_itself(services, releases):
    first = releases.candidate(1)
    with services.connect() as conn:
        diff = compare_releases(conn, first, first)
    assert diff.neighbour_overlap == diff.recommendation_overlap == 1.0
    assert diff.movies.vanished == diff.movies.appeared == 0
    assert diff.sentinel_movies == releases.MOVIES


def test_added_and_removed_movies_are_counted_and_listed(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    with services.connect() as conn:
        conn.execute(
            f"delete from recsys.{table_name('movie_vectors', first)} where movieid in (2, 3)"
        )
        conn.execute(f"delete from recsys.{table_name('movie_vectors', second)} where movieid = 7")
        diff = compare_releases(conn, first, second)
    assert (diff.movies.before, diff.movies.after) == (10, 11)
    assert diff.movies.first_appeared == (2, 3)
    assert diff.movies.first_vanished == (7,)
    assert diff.sentinel_movies == 9
    assert 0 <= diff.neighbour_overlap <= 1


def test_releases_without_a_common_user_have_no_overlap(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    with services.connect() as conn:
        conn.execute(
            f"update recsys.{table_name('user_towers', second)} set userid = userid + 1000"
        )
        diff = compare_releases(conn, first, second)
    assert diff.recommendation_overlap is None
    assert (diff.users.vanished, diff.users.appeared) == (releases.USERS, releases.USERS)


def test_a_preview_checks_everything_and_changes_nothing(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    assert preview_promotion(services, first) is None
    promote_release(services, first, actor=an_actor())
    releases.judge(second)
    with services.connect() as conn:
        before = ledger.history(conn)
    diff = preview_promotion(services, second)
    assert (diff.champion, diff.candidate) == (first, second)
    with services.connect() as conn:
        assert ledger.history(conn) == before
        assert ledger.champion(conn).release_id == first
        conn.execute(f"delete from recsys.{table_name('movie_towers', second)} where movieid = 1")
    with pytest.raises(VectorError):
        preview_promotion(services, second)
    with pytest.raises(LedgerError):
        preview_promotion(services, releases.begin(3))
