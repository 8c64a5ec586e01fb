"""The stored report, which is made from a release's tables and artifacts and deleted with them."""

from __future__ import annotations

import json

import pytest

from recsys import contract, ledger, pipeline, reports
from recsys.contract import REPORT_FILE, release_key
from recsys.errors import LedgerError
from recsys.pipeline import Run
from recsys.releases import (
    RetentionSettings,
    promote_release,
    release_table,
    retire_old_releases,
)
from recsys.reports import release
from tests.actors import an_actor


def run_of(releases, number: int) -> Run:
    return Run(run_id="r", source="s", build=releases.build(number))


def test_a_report_shows_results_now_and_before(services, releases):
    first = releases.candidate(1)
    promote_release(services, first, actor=an_actor())
    second = releases.candidate(2)
    with services.connect() as conn:
        conn.execute(
            "insert into recsys.decisions (release_id, champion, run_id, accepted, decision) "
            "select release_id, %s, 'again', accepted, decision from recsys.decisions "
            "where release_id = %s",
            (first, second),
        )

    key = reports.make_report(services, second)

    assert key == release_key(second, REPORT_FILE)
    page = reports.stored_report(services, second)
    assert page is not None
    for shown in (
        second,
        "Accepted",
        "Movies similar to well-known ones",
        "user 1",
        "before",
        "refit",
    ):
        assert shown in page
    # All users have rated movie 1 and no other.
    assert "<h3>movie 1</h3>" in page
    assert "movie 1</li>" not in page, "a movie is not listed as similar to itself"


def test_a_report_names_the_movie_that_brought_a_recommendation(services, releases):
    release_id = releases.candidate(1)
    with services.connect() as conn:
        vectors = release_table("movie_vectors", release_id)
        # All movies become equally near to movie 1, which all users have rated.
        conn.execute(
            f"update {vectors} set vector = (select vector from {vectors} where movieid = 1)"
        )
        page = release.report_page(services, release_id)
        assert "because of movie 1" in page
        conn.execute(
            f"update {vectors} set vector = (select vector - vector - vector from {vectors} "
            "where movieid = 1) where movieid <> 1"
        )
    assert "because of" not in release.report_page(services, release_id)


def test_a_report_without_a_champion_shows_only_the_results_now(services, releases):
    page = release.report_page(services, releases.candidate(1))
    assert "<h4>now</h4>" in page
    assert "<h4>before</h4>" not in page


def test_a_report_contains_history_statistics_and_titles(services, releases):
    release_id = releases.candidate(1)
    epochs = [
        {"model": "rating", "epoch": n, "loss": 1 / n, "validation_rmse": 0.9, "seconds": 1.0}
        for n in (1, 2)
    ]
    services.store.put_bytes(
        release_key(release_id, contract.HISTORY_FILE), json.dumps({"evaluated": epochs}).encode()
    )
    services.store.put_bytes(
        releases.build(1).features_key(contract.STATS_FILE),
        json.dumps(
            {"interactions": 4711, "files": {"r.csv": {"rows": 9, "quarantine": {}}}}
        ).encode(),
    )
    page = release.report_page(services, release_id)
    assert "Training of the rating model" in page
    assert "4,711" in page
    assert "no invalid rows" in page


def test_a_report_shows_the_measured_metrics_not_the_stated_ones(services, releases):
    release_id = releases.candidate(1)
    key = release_key(release_id, contract.MEASURED_FILE)
    document = json.loads(services.store.get_bytes(key))
    document["metrics"]["model"]["rmse"] = 0.8765
    services.store.put_bytes(key, json.dumps(document).encode())
    assert "0.8765" in release.report_page(services, release_id)

    services.store.put_bytes(key, b"{}")
    assert "0.8765" not in release.report_page(services, release_id), "a damaged file is left out"


def test_retirement_deletes_the_report(services, releases):
    first, second = releases.candidate(1), releases.candidate(2)
    for release_id in (first, second):
        reports.make_report(services, release_id)
    promote_release(services, first, actor=an_actor())
    with services.connect() as conn:
        ledger.move(conn, second, ledger.State.REJECTED, actor=an_actor())

    retire_old_releases(services, RetentionSettings(keep_releases=0), actor=an_actor())

    assert reports.stored_report(services, first) is not None
    assert services.store.keys(contract.release_prefix(second)) == []
    with pytest.raises(LedgerError, match="its data has been deleted"):
        reports.make_report(services, second)


def test_a_report_written_during_retirement_is_deleted(services, releases, monkeypatch):
    promote_release(services, releases.candidate(1), actor=an_actor())
    late = releases.candidate(2)
    page_of = release.report_page

    def slow(services, release_id):
        page = page_of(services, release_id)
        with services.connect() as conn:
            ledger.move(conn, late, ledger.State.REJECTED, actor=an_actor())
        retire_old_releases(services, RetentionSettings(keep_releases=0), actor=an_actor())
        return page

    monkeypatch.setattr(release, "report_page", slow)
    reports.make_report(services, late)

    assert services.store.keys(contract.release_prefix(late)) == []


def test_a_report_that_cannot_be_rendered_does_not_fail_the_run(services, releases):
    with services.connect() as conn:
        ledger.prepare(conn)
    assert pipeline.write_report(services, run_of(releases, 1)) is None
    release_id = releases.candidate(1)
    assert pipeline.write_report(services, run_of(releases, 1)) == release_key(
        release_id, REPORT_FILE
    )
