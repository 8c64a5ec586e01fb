"""The site of a dataset whose ids have 64 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from recsys import contract
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys_site.stored_models import IdLookup
from tests.release_maker import Vectors
from tests.site.conftest import Site, running_site, wait_for
from tests.site.real_releases import RealReleases

OFFSET = 2**62
"""Neighbors of it are one number for JavaScript."""
LARGEST = 2**63 - 1


class WideReleases(RealReleases):
    """Releases whose users and movies have ids from 2**62 + 1 on."""

    OFFSET = OFFSET

    def build(self, number: int) -> contract.Build:
        features = contract.FeatureSettings(id_bits=contract.WIDE).model_dump(mode="json")
        settings = {"number": number, "features": features}
        return super().build(number).model_copy(update={"settings": settings})

    def vectors(self, number: int) -> dict[str, Vectors]:
        return {
            name: (ids.astype(np.int64) + OFFSET, made, extra)
            for name, (ids, made, extra) in super().vectors(number).items()
        }

    def histories(self, users: int) -> list[list[int]]:
        return [[OFFSET + movie for movie in movies] for movies in super().histories(users)]


@pytest.fixture(scope="module")
def wide_site(postgres_server: Postgres, s3_server: S3) -> Iterator[Site]:
    with running_site(postgres_server, s3_server, poll_seconds=1) as running:
        narrow = running.promote(1)
        wait_for(lambda: running.answers_with(narrow))
        [first] = running.get("/api/movies", count=1).json()["movies"]
        assert isinstance(first["movie_id"], int)
        # The site goes on when the next release has longer ids.
        running.releases = WideReleases(running.services)
        release_id = running.promote(24)
        wait_for(lambda: running.answers_with(release_id))
        yield running


def test_ids_are_text_in_json(wide_site: Site) -> None:
    movie = str(OFFSET + 7)
    assert wide_site.get(f"/api/movies/{movie}").json()["movie"]["movie_id"] == movie
    similar = wide_site.get(f"/api/movies/{movie}/similar", count=50).json()["similar"]
    found = [one["movie"]["movie_id"] for one in similar]
    assert len(set(found)) == len(found) == 50
    assert {type(one) for one in found} == {str}
    user = wide_site.get(f"/api/users/{OFFSET + 3}/recommendations").json()["recommendations"]
    assert {int(one["movie"]["movie_id"]) > OFFSET for one in user} == {True}
    assert wide_site.get(f"/api/users/{OFFSET + 13}/recommendations").status_code == 404


def test_text_and_exact_numbers_are_accepted_and_rounded_numbers_are_not(wide_site: Site) -> None:
    def post(*movies: object) -> tuple[int, list[str]]:
        ratings = [{"movie_id": movie, "stars": 5} for movie in movies]
        answer = wide_site.client.post("/api/recommendations", json={"ratings": ratings})
        found = answer.json().get("recommendations", ())
        return answer.status_code, [one["movie"]["movie_id"] for one in found]

    status, liked = post(str(OFFSET + 7))
    assert status == 200
    assert str(OFFSET + 7) not in liked
    # Movies that the release does not have are ignored, whatever their number.
    assert post(str(OFFSET + 7), 3, "3", str(LARGEST), "9" * 19) == (200, liked)
    assert post(str(OFFSET + 8)) != (200, liked)
    for refused in (OFFSET + 7, 2**53, -1, 0, "0", "-1", "x", 1.5):
        assert post(refused)[0] == 422, refused


def test_pages_link_and_keep_long_ids(wide_site: Site) -> None:
    movie, user = OFFSET + 7, OFFSET + 3
    page = wide_site.get(f"/movies/{movie}").text
    assert f"/movies/{OFFSET + 1}" in page or re.search(rf"/movies/{str(OFFSET)[:10]}\d+", page)
    assert f"r={movie}-5" in page
    moved = wide_site.get("/users", id=str(user))
    assert moved.headers["location"].endswith(f"/users/{user}")
    assert wide_site.get(f"/users/{user}").status_code == 200
    sent = wide_site.get("/newcomer", r=f"{movie}-4", **{f"m{movie + 1}": "5"})
    assert sent.headers["location"] == f"/newcomer?r={movie}-4_{movie + 1}-5"
    assert wide_site.get("/newcomer", r=f"{movie}-4_{movie + 1}-5").status_code == 200
    # Movies of the release before, in an address that somebody has kept.
    assert wide_site.get("/newcomer", r=f"7-4_{LARGEST}-5").status_code == 200


def test_a_lookup_without_tensorflow_tells_neighbors_apart() -> None:
    ids = [OFFSET, OFFSET + 1, LARGEST, 5]
    raw = keras.Input((), dtype="int64", name="userId")
    model = keras.Model(raw, IdLookup(vocabulary=ids)(raw))
    asked = np.array([5, LARGEST, OFFSET + 1, OFFSET, OFFSET + 2, LARGEST - 1, 0, -1], np.int64)
    found = np.asarray(model(asked, training=False))
    assert found.tolist() == [4, 3, 2, 1, 0, 0, 0, 0]
