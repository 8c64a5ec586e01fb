"""The site during promotions, rollbacks, broken releases and outages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from recsys.contract import titles_key
from recsys.embedded.postgres import Postgres
from recsys.releases import roll_back
from recsys_site.bundle import Bundle
from recsys_site.metrics import Metrics
from recsys_site.releases import Releases as SiteReleases
from recsys_site.settings import SiteSettings
from tests.actors import an_actor
from tests.http_session import HttpSession
from tests.site.conftest import running_site, wait_for
from tests.site.real_releases import RealReleases

ASKED = ("/api/movies/7/similar", "/api/users/3/recommendations", "/movies/7", "/users/3")
COLD_START = {"ratings": [{"movie_id": 5, "stars": 5}]}
READERS = 4


@pytest.fixture
def own_site(postgres_server, s3_server):
    with running_site(postgres_server, s3_server, poll_seconds=1) as running:
        yield running


class Reader(threading.Thread):
    """Sends requests continuously; records responses by release, and errors."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self.url, self.stop = url, stop
        self.wrong: list[str] = []
        self.answers: dict[tuple[str, str], set[str]] = {}
        self.requests = 0
        self.release: str | None = None

    def is_at(self, release: str) -> bool:
        """Returns whether the last answer was of this release."""
        return self.release == release

    def run(self) -> None:
        with HttpSession(self.url) as client:
            while not self.stop.is_set():
                for path in ASKED:
                    self.record(path, client.get(path))
                self.record("cold start", client.post("/api/recommendations", json=COLD_START))

    def record(self, path: str, answer: requests.Response) -> None:
        self.requests += 1
        if answer.status_code != 200:
            self.wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return
        release = (
            answer.text.partition('data-release="')[2][:17]
            if answer.headers["content-type"].startswith("text/html")
            else answer.json()["release_id"]
        )
        self.answers.setdefault((path, release), set()).add(answer.text)
        self.release = release


def test_promotions_under_load_cause_no_error_and_no_mixed_pair(own_site, record_property):
    site = own_site
    first = site.promote(1)
    wait_for(lambda: site.answers_with(first))
    # Before the load, because making a release takes longer than promoting it.
    for number in (2, 3):
        site.numbers[site.releases.candidate(number)] = number
    stop = threading.Event()
    readers = [Reader(site.url, stop) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        for number in (2, 3, 1, 2):
            promoted = site.promote(number)
            wait_for(lambda wanted=promoted: all(reader.is_at(wanted) for reader in readers))
        roll_back(site.services, actor=an_actor())
        wait_for(lambda: not site.answers_with(promoted))
    finally:
        stop.set()
        for reader in readers:
            reader.join(timeout=30)
    assert [wrong for reader in readers for wrong in reader.wrong] == []
    answers: dict[tuple[str, str], set[str]] = {}
    for reader in readers:
        for key, texts in reader.answers.items():
            answers.setdefault(key, set()).update(texts)
    releases = {release for _, release in answers}
    assert releases == set(site.numbers)
    for (path, release), texts in answers.items():
        # Only the time of promotion changes when a release is promoted again.
        assert len({_without_time(text) for text in texts}) == 1, f"{path} of {release} varies"
        [text, *_] = texts
        number = site.numbers[release]
        assert f" of {number}" in text
        assert not any(f' of {other}"' in text for other in {1, 2, 3} - {number})
    changes = site.get("/metrics").text
    assert "recsys_site_changeovers_total 6.0" in changes
    requests = sum(reader.requests for reader in readers)
    record_property("figure", f"{requests} requests through 5 changeovers: 0 errors, 0 mixed pairs")


def _without_time(text: str) -> str:
    before, _, after = text.partition("<time")
    return before + after.partition("</time>")[2]


def test_a_rollback_uses_what_is_still_in_memory_and_no_more_than_two_are_kept(own_site):
    site = own_site
    first = site.promote(1)
    releases = SiteReleases(site.settings, Metrics())
    releases.start()
    try:

        def bundle_of(release_id: str) -> Bundle:
            wait_for(lambda: releases.loaded and releases.loaded.release_id == release_id)
            return releases.live.model

        one = bundle_of(first)
        two = bundle_of(site.promote(2))
        roll_back(site.services, actor=an_actor())
        again = bundle_of(first)
        assert again.stars is one.stars
        assert again.catalog is one.catalog
        assert again.loaded_at > two.loaded_at > one.loaded_at
        bundle_of(site.promote(3))
        second = next(release for release, number in site.numbers.items() if number == 2)
        roll_back(site.services, second, actor=an_actor())
        assert bundle_of(second).stars is not two.stars
    finally:
        releases.stop()


def test_stars_and_vectors_belong_to_the_release_in_the_response(own_site):
    site = own_site
    for number in (1, 2):
        release_id = site.promote(number)
        wait_for(lambda wanted=release_id: site.answers_with(wanted))
        found = site.get("/api/users/3/recommendations").json()
        for one in found["recommendations"]:
            movie = one["movie"]
            if movie["movie_id"] != 2:
                assert movie["title"] == f"The Movie {movie['movie_id']} of {number}"
            expected = RealReleases.stars(number) + 0.01 * (movie["movie_id"] - 1)
            assert one["stars"] == pytest.approx(expected, abs=1e-4)


def test_the_site_is_unavailable_until_the_first_release_is_promoted(own_site):
    site = own_site
    for path, status in (("/", 503), ("/api/release", 503), ("/readyz", 503), ("/healthz", 200)):
        answer = site.get(path)
        assert answer.status_code == status, path
    assert "Back in a moment" in site.get("/").text
    assert site.get("/").headers["retry-after"] == "5"
    release_id = site.promote(1)
    wait_for(lambda: site.answers_with(release_id))
    assert site.get("/").status_code == 200


def test_the_last_good_release_stays_in_use_if_the_next_cannot_be_loaded(own_site):
    site = own_site
    first = site.promote(1)
    wait_for(lambda: site.answers_with(first))
    second = site.releases.candidate(2)
    site.numbers[second] = 2
    key = titles_key(site.releases.build(2).dataset_md5)
    titles = site.services.store.get_bytes(key)
    site.services.store.delete([key])
    site.promote(2)
    wait_for(lambda: site.get("/readyz").json()["status"] == "degraded")
    said = site.get("/readyz")
    assert said.status_code == 200
    assert said.json()["release_id"] == first
    assert said.json()["problem"] == "The object store is not available or lacks a file."
    assert site.get("/movies/7").status_code == 200
    assert "Degraded" in site.get("/release").text
    assert "recsys_site_degraded 1.0" in site.get("/metrics").text
    site.services.store.put_bytes(key, titles)
    wait_for(lambda: site.answers_with(second))
    assert site.get("/readyz").json()["status"] == "ready"


def test_a_database_outage_shows_a_clear_page_and_ends(own_site, postgres_server):
    site = own_site
    release_id = site.promote(1)
    wait_for(lambda: site.answers_with(release_id))
    with outage(postgres_server):
        statuses = Counter(site.get(path).status_code for path in ASKED)
        assert statuses == {503: len(ASKED)}
        page = site.get("/movies/7").text
        assert "The database is not available." in page
        assert "127.0.0.1" not in page
        assert site.get("/search?q=movie").status_code == 200, "titles are in memory"
        wait_for(lambda: site.get("/readyz").json()["status"] == "degraded")
        assert site.get("/readyz").status_code == 200
    wait_for(lambda: site.get("/movies/7").status_code == 200)
    wait_for(lambda: site.get("/readyz").json()["status"] == "ready")
    second = site.promote(2)
    wait_for(lambda: site.answers_with(second))


@contextmanager
def outage(server: Postgres) -> Iterator[None]:
    with server.home.lock():
        server.stop()
    try:
        yield
    finally:
        with server.home.lock():
            server.start()


def test_secrets_are_neither_shown_nor_logged(own_site, caplog):
    settings = SiteSettings(
        dsn="postgresql://u:hunter2@127.0.0.1:1/x",
        s3_bucket="abc",
        access_key="k",
        secret_key="hunter2",  # noqa: S106 - the secret that must not appear
    )
    assert "hunter2" not in repr(settings)
    releases = SiteReleases(settings, Metrics())
    releases.start()
    wait_for(lambda: releases.problem is not None)
    releases.stop()
    assert releases.state == "starting"
    assert caplog.records
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(releases.problem)
