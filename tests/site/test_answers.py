"""Responses of the site's API and pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import psycopg
import pytest

from recsys.contract import table_name
from recsys_site import answers
from tests.site.conftest import site_dsn

PAGES = [
    "/",
    "/search?q=movie",
    "/movies/1",
    "/users/3",
    "/newcomer",
    "/newcomer?r=1-5_4-2",
    "/release",
]


def vectors(site, table: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    [release_id] = site.numbers
    with psycopg.connect(site.services.postgres.dsn.get_secret_value()) as conn:
        rows = conn.execute(
            f"select {key}, vector::real[] from recsys.{table_name(table, release_id)} order by 1"
        ).fetchall()
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


def test_similar_movies_are_the_nearest_by_cosine(site):
    ids, made = vectors(site, "movie_vectors", "movieid")
    made = made / np.linalg.norm(made, axis=1, keepdims=True)
    cosine = made @ made[ids.tolist().index(7)]
    best = [int(ids[place]) for place in np.argsort(-cosine) if ids[place] != 7][:5]
    answer = site.get("/api/movies/7/similar", count=5).json()
    assert [near["movie"]["movie_id"] for near in answer["similar"]] == best
    assert answer["similar"][0]["cosine"] == pytest.approx(np.sort(cosine)[-2], abs=1e-3)
    assert [answer["release_id"]] == list(site.numbers)


def test_recommendations_are_the_best_by_inner_product_without_those_seen(site):
    ids, movies = vectors(site, "movie_towers", "movieid")
    users, towers = vectors(site, "user_towers", "userid")
    scores = movies @ towers[users.tolist().index(3)]
    seen = site.releases.histories(3)[2]
    best = [int(ids[place]) for place in np.argsort(-scores) if ids[place] not in seen][:6]
    found = site.get("/api/users/3/recommendations", count=6).json()["recommendations"]
    assert [one["movie"]["movie_id"] for one in found] == best
    for one in found:
        expected = site.releases.stars(1) + 0.01 * (one["movie"]["movie_id"] - 1)
        assert one["stars"] == pytest.approx(expected, abs=1e-4)


def test_returns_as_many_movies_as_requested_though_the_index_is_approximate(site):
    found = site.get("/api/movies/7/similar", count=50).json()["similar"]
    assert len({near["movie"]["movie_id"] for near in found}) == 50


def test_a_cold_start_user_gets_unrated_movies_that_depend_on_the_stars(site):
    def ask(stars: float) -> list[int]:
        answer = site.client.post(
            "/api/recommendations",
            json={"ratings": [{"movie_id": 5, "stars": stars}, {"movie_id": 9, "stars": stars}]},
        )
        assert answer.status_code == 200
        return [one["movie"]["movie_id"] for one in answer.json()["recommendations"]]

    fan, critic = ask(5), ask(0.5)
    assert len(fan) == len(critic) == 12
    assert not {5, 9} & {*fan, *critic}
    assert fan != critic


def test_a_cold_start_user_gets_the_same_movies_as_by_a_scan_of_all_vectors(site):
    ids, made = vectors(site, "movie_vectors", "movieid")
    made = made / np.linalg.norm(made, axis=1, keepdims=True)
    ratings = {5: 5.0, 9: 4.0, 12: 1.0}
    rated = made[[ids.tolist().index(movie) for movie in ratings]]
    profile = (np.array(list(ratings.values())) - 2.5) @ rated
    counts = np.array([max(1, sum(m in h for h in site.releases.histories(12))) for m in ids])
    scores = made @ (profile / np.linalg.norm(profile)) * counts**0.2
    best = [int(ids[place]) for place in np.argsort(-scores) if ids[place] not in ratings][:12]
    body = {"ratings": [{"movie_id": m, "stars": s} for m, s in ratings.items()]}
    answer = site.client.post("/api/recommendations", json=body).json()["recommendations"]
    assert [one["movie"]["movie_id"] for one in answer] == best


@pytest.mark.parametrize(
    "ratings", [[(5, 2.5)], [(61, 5)], [(99999, 5)], [(5, 0.5)]],
    ids=["neutral", "without a vector", "unknown", "only disliked"],
)  # fmt: skip
def test_ratings_that_say_little_give_popular_movies_too(site, ratings):
    body = {"ratings": [{"movie_id": movie, "stars": stars} for movie, stars in ratings]}
    answer = site.client.post("/api/recommendations", json=body)
    assert answer.status_code == 200
    found = [one["movie"]["movie_id"] for one in answer.json()["recommendations"]]
    assert len(found) == 12
    if ratings != [(5, 0.5)]:
        assert found[0] == 1, "the movie that everybody rated"


def test_reasons_are_movies_that_the_user_liked_and_similar_enough(site, monkeypatch):
    ratings = [{"movie_id": movie, "stars": 5 if movie < 20 else 1} for movie in range(2, 40)]

    def ask():
        answer = site.client.post("/api/recommendations", json={"ratings": ratings, "count": 50})
        return [one["because"] for one in answer.json()["recommendations"]]

    # The vectors are random: no two movies are as similar as a reason must be.
    assert not any(ask())
    monkeypatch.setattr(answers, "MIN_COSINE", 0.1)
    reasons = ask()
    assert any(reasons)
    assert {reason["movie_id"] for reason in reasons if reason} <= set(range(2, 20))


@pytest.mark.parametrize(
    "path", ["/api/movies/99999", "/api/movies/99999/similar", "/api/users/99999/recommendations"]
)
def test_an_unknown_id_is_not_found(site, path):
    answer = site.get(path)
    assert answer.status_code == 404
    assert "99999" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["/movies/99999", "/users/99999", "/movies/abc", "/movies/0", f"/users/{2**31}", "/no-page",
     "/users?id=1%27--", "/users?id=%C2%B2", "/users?id="],
)  # fmt: skip
def test_an_unknown_address_offers_a_search(site, path):
    answer = site.get(path)
    assert answer.status_code == 404
    assert 'role="search"' in answer.text
    assert "Page not found" in answer.text


@pytest.mark.parametrize("path", [f"/search?q={'x' * 101}", f"/newcomer?r={'1-5_' * 600}"])
def test_rejects_a_parameter_that_is_too_long(site, path):
    assert site.get(path).status_code == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_rejects_a_body_that_is_too_long_before_reading_it(site, chunked):
    body = b'{"ratings": [' + b" " * 200_000 + b"]}"
    content = (body[at : at + 9000] for at in range(0, len(body), 9000)) if chunked else body
    answer = site.client.post("/api/recommendations", data=content)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "more than 65536 bytes"


def test_static_files_are_revalidated_by_etag(site):
    first = site.get("/static/site.css")
    assert first.headers["cache-control"] == "no-cache"
    again = site.client.get("/static/site.css", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert site.get("/").headers["cache-control"] == "private, no-cache"


def test_a_movie_without_ratings_has_a_page_and_no_similar_movies(site):
    assert site.get("/api/movies/61/similar").json()["similar"] == []
    page = site.get("/movies/61")
    assert page.status_code == 200
    assert "Nobody has rated this movie yet" in page.text


def test_the_query_on_the_page_finds_the_movies_on_the_page(site):
    page = site.get("/movies/7").text
    query = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)
    assert query
    text = query[1].replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'")
    with psycopg.connect(site.services.postgres.dsn.get_secret_value()) as conn:
        conn.execute("set role recsys_site")
        found = [row[0] for row in conn.execute(text).fetchall()]
    shown = page.partition("Movies like this one")[2].partition("<details")[0]
    assert [int(movie) for movie in re.findall(r'href="/movies/(\d+)"', shown)] == found


def test_a_user_number_redirects_to_the_users_page(site):
    answer = site.get("/users", id=" 3 ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/users/3")


def test_submitted_ratings_are_added_to_the_url(site):
    answer = site.get("/newcomer", r="1-5_4-2", m7="4", m4="3", mx="5", m8="9")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/newcomer?r=1-5_7-4_4-3"
    changed = site.get("/newcomer", r="1-5_4-2", m1="5", m4="0.5", m7="4.5")
    assert changed.headers["location"] == "/newcomer?r=1-5_4-0.5_7-4.5"
    removed = site.get("/newcomer", r="1-5_4-2", m7="3", drop="1")
    assert removed.headers["location"] == "/newcomer?r=4-2_7-3"
    assert site.get("/newcomer", r="1-5", drop="1").headers["location"] == "/newcomer"
    page = site.get("/newcomer", r="1-5_7-4_4-3_99999-5")
    assert "The Movie 7 of 1" in page.text
    assert "99999" not in page.text.partition("<main")[2]


def test_a_search_for_movies_to_rate_keeps_what_was_rated(site):
    found = site.get("/newcomer", r="1-5", m3="4", q="movie 9", searched="")
    assert found.headers["location"] == "/newcomer?r=1-5_3-4&q=movie+9"
    sent = site.get("/newcomer", r="1-5_3-4", m9="2", q="movie 9", searched="movie 9")
    assert sent.headers["location"] == "/newcomer?r=1-5_3-4_9-2"


@pytest.mark.parametrize(
    "path", ["/", "/search?q=movie", "/movies/7", "/users/3", "/newcomer?q=movie", "/release"]
)
def test_every_page_passes_the_ratings_on(site, path):
    page = site.get(f"{path}{'&' if '?' in path else '?'}r=4-2.5_5-1").text
    seen = Collector()
    seen.feed(page)
    inside = [a for a in seen.addresses if re.match("/($|[?]|movies|users/|release)|/newcomer", a)]
    assert len(inside) > 4
    assert [one for one in inside if "r=4-2.5_5-1" not in one and one != "/newcomer"] == []
    forms = page.count("<form")
    assert page.count('type="hidden" name="r" value="4-2.5_5-1"') == forms


def test_half_stars_are_offered_because_the_dataset_has_them(site):
    page = site.get("/newcomer").text
    assert 'value="0.5"' in page
    assert "4½ stars" in page


def test_search_tolerates_typos_and_names_them(site):
    found = site.get("/api/movies", q="moive 7").json()
    assert (found["movies"][0]["movie_id"], found["approximate"]) == (7, True)
    found = site.get("/api/movies", q="movie7").json()
    assert (found["movies"][0]["movie_id"], found["approximate"]) == (7, False)
    for path in ("/search?q=moive", "/newcomer?q=moive"):
        assert "No title contains “moive”" in site.get(path).text


class Collector(HTMLParser):
    """Collects the addresses in a page, and inline styles and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[name] for name in ("href", "src", "action") if values.get(name)]
        self.inline += [name for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.inline.append(tag)


@pytest.mark.parametrize("path", [*PAGES, "/no-page", "/docs"])
def test_a_page_loads_only_from_the_site_and_has_no_inline_code(site, path):
    answer = site.get(path)
    seen = Collector()
    seen.feed(answer.text)
    assert seen.addresses
    assert all(address[0] in "/#" and address[:2] != "//" for address in seen.addresses)
    assert seen.inline == []
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_its_release(site, path):
    answer = site.get(path)
    [release_id] = site.numbers
    assert answer.status_code == 200
    assert f'data-release="{release_id}"' in answer.text


def test_a_hostile_title_is_escaped(site):
    for path in ("/movies/2", "/search?q=script", "/newcomer?r=2-5"):
        page = site.get(path).text
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page
        assert "{{" in page, "the template must not evaluate it"


def test_liveness_and_readiness_differ(site):
    [release_id] = site.numbers
    assert site.get("/healthz").json() == {"status": "alive"}
    assert site.get("/readyz").json() == {"status": "ready", "release_id": release_id}


def test_metrics_count_routes_and_name_the_release(site):
    site.get("/movies/7")
    for number in range(3):
        site.get(f"/no-page-{number}")
    text = site.get("/metrics").text
    [release_id] = site.numbers
    assert re.search(rf'recsys_site_release_info{{.*release_id="{release_id}".*}} 1.0', text)
    counted = 'recsys_site_requests_total{method="GET",route="/movies/{movie_id}",status="200"}'
    assert counted in text
    assert "recsys_site_changeovers_total 1.0" in text
    assert "recsys_site_degraded 0.0" in text
    assert "no-page" not in text, "unknown addresses must not create series"


def test_the_sites_account_can_only_read_promoted_releases(site):
    dsn = site_dsn(site.services.postgres.dsn.get_secret_value()).get_secret_value()
    [release_id] = site.numbers
    with psycopg.connect(dsn, autocommit=True) as conn:
        table = f"recsys.{table_name('movie_vectors', release_id)}"
        assert conn.execute(f"select count(*) from {table}").fetchone()
        for statement in (f"delete from {table}", "select * from recsys.history", "drop view x"):
            with pytest.raises(psycopg.errors.Error):
                conn.execute(statement)
