"""The site of a dataset whose ratings are 1 to 10."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from tests.site.conftest import Site, running_site, wait_for
from tests.site.real_releases import ReleasesOfTen


@pytest.fixture(scope="module")
def site_of_ten(postgres_server: Postgres, s3_server: S3) -> Iterator[Site]:
    with running_site(postgres_server, s3_server, poll_seconds=1) as running:
        running.releases = ReleasesOfTen(running.services)
        release_id = running.promote(24)
        wait_for(lambda: running.answers_with(release_id))
        yield running


def test_predictions_are_shown_in_the_scale(site_of_ten: Site):
    found = site_of_ten.get("/api/users/3/recommendations").json()["recommendations"]
    assert all(7 <= one["stars"] < 8 for one in found)
    page = site_of_ten.get("/users/3").text
    assert f"{found[0]['stars']:.1f} of 10" in page
    assert "of 5 stars" not in page
    assert "★" not in page


def test_the_ratings_of_the_scale_are_offered_and_kept_in_the_address(site_of_ten: Site):
    page = site_of_ten.get("/newcomer").text
    first = re.search(r'<select form="rate".*?</select>', page, re.DOTALL)
    assert first
    offered = [float(value) for value in re.findall(r'value="([\d.]+)"', first[0])]
    assert (max(offered), min(offered)) == (10, 1)
    assert {float(whole) for whole in range(1, 11)} <= set(offered)
    sent = site_of_ten.get("/newcomer", r="1-10_4-7", m4="none", m7="9", m8="11", m9="0.5")
    assert sent.headers["location"] == "/newcomer?r=1-10_7-9"
    rated = site_of_ten.get("/newcomer", r="1-10_7-9")
    assert rated.status_code == 200
    assert "10 of 10</option>" in rated.text
    assert re.search(r"[78]\.\d of 10", rated.text)
    assert "r=7-10" in site_of_ten.get("/movies/7").text


def test_a_rating_attracts_or_repels_by_its_place_in_the_scale(site_of_ten: Site):
    def best(stars: float) -> list[int]:
        body = {"ratings": [{"movie_id": 5, "stars": stars}], "count": 50}
        answer = site_of_ten.client.post("/api/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        return [one["movie"]["movie_id"] for one in answer.json()["recommendations"]]

    # 5 is 2.5 stars, which says nothing; 4 repels.
    assert best(10) == best(6)
    assert best(4) == best(1)
    assert best(10) != best(4)
    assert best(5) not in (best(10), best(4))


@pytest.mark.parametrize("stars", [0.5, 10.5, 11, 0, 7.25])
def test_a_rating_outside_of_the_scale_is_refused(site_of_ten: Site, stars: float):
    body = {"ratings": [{"movie_id": 1, "stars": 2}, {"movie_id": 5, "stars": stars}]}
    answer = site_of_ten.client.post("/api/recommendations", json=body)
    if stars == 7.25:
        # In no scale.
        assert answer.status_code == 422
        return
    assert answer.status_code == 409
    assert "ratings.1.stars is" in answer.json()["detail"]
    assert "are 1 to 10" in answer.json()["detail"]
