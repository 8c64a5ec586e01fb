"""Conventions of HTTP that caches, proxies, monitors and scanners rely on."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

ADDRESSES = ("/", "/movies/7", "/users/3", "/api/movies/7", "/api/release", "/release")
PLAIN = ("/healthz", "/readyz", "/metrics")


@pytest.mark.parametrize("path", [*ADDRESSES, *PLAIN, "/static/site.css", "/no-page", "/api/none"])
def test_head_is_get_without_a_body(site, path):
    got, headed = site.get(path), site.client.head(path)
    assert headed.status_code == got.status_code
    assert headed.content == b""
    for name in ("content-type", "cache-control", "etag", "content-security-policy"):
        assert headed.headers.get(name) == got.headers.get(name), name
    if path != "/metrics":
        assert headed.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/movies/7", "GET, HEAD, OPTIONS"),
        ("/api/movies", "GET, HEAD, OPTIONS"),
        ("/api/recommendations", "OPTIONS, POST"),
        ("/readyz", "GET, HEAD, OPTIONS"),
        ("/static/site.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_methods_are_named_to_those_who_ask_or_use_another(site, path, allowed):
    asked = site.client.options(path)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allowed, b"")
    for method in ("PUT", "DELETE", "PATCH", "PROPFIND"):
        refused = site.client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert refused.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [*ADDRESSES, "/openapi.json"])
def test_a_page_that_the_visitor_has_is_not_sent_again(site, path):
    first = site.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = site.client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "private, no-cache"
        assert "content-length" not in again.headers
    assert site.client.head(path, headers={"If-None-Match": tag}).status_code == 304
    other = site.client.get(path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_static_files_are_revalidated_by_tag_and_by_time(site):
    first = site.get("/static/site.css")
    assert first.headers["content-type"] == "text/css; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    for name, value in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
        again = site.client.get("/static/site.css", headers={name: first.headers[value]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", [*PLAIN, "/no-page", "/api/none", "/movies/999999"])
def test_states_and_errors_are_never_stored(site, path):
    found = site.get(path)
    assert found.headers["cache-control"] == "no-store"
    assert "etag" not in found.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api", 404),
        ("/api/none", 404),
        ("/api/movies/999999", 404),
        ("/api/movies/x", 422),
        ("/api/movies/0", 422),
        ("/api/movies/99999999999999999999", 404),
        ("/api/users/99999999999999999999/recommendations", 404),
        ("/api/users/9223372036854775807/recommendations", 404),
        ("/api/movies/" + "9" * 5000, 422),
        ("/api/movies?count=all", 422),
        ("/api/movies?count=-1", 422),
        ("/api/movies?count=1e1", 422),
        ("/api/movies?count=", 422),
        ("/api/movies?q=" + "x" * 101, 422),
        ("/api/users/1/recommendations?count=51", 422),
        ("/api/movies?q=" + "x" * 9000, 414),
        ("/openapi.json/none", 404),
    ],
)
def test_errors_of_the_api_are_problem_details(site, path, status):
    answer = site.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type": "about:blank", "status": status}.items() <= problem.items()
    assert problem["title"]
    assert isinstance(problem["detail"], str)
    if status == 422:
        assert all({"at", "problem"} == one.keys() for one in problem["errors"])


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"\xff\xfe", 400), (b"[]", 422), (b'{"ratings": []}', 422), (b"", 422)],
)
def test_bodies_that_are_no_ratings_are_problems(site, body, status):
    headers = {"Content-Type": "application/json"}
    answer = site.client.post("/api/recommendations", data=body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/no-page", 404),
        ("/apis", 404),
        ("/movies/x", 404),
        ("/movies/" + "9" * 5000, 404),
        ("/users?id=" + "9" * 90, 404),
        ("/search?q=" + "x" * 101, 400),
        ("/search?q=" + "x" * 9000, 414),
        ("/static/", 404),
        ("/static/none.css", 404),
        ("/static/%2e%2e/app.py", 404),
        ("/%00", 404),
    ],
)
def test_errors_of_pages_are_pages(site, path, status):
    answer = site.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<form" in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "query", ["q=%00", "q=%ff%fe", "q=%", "q=a&q=b", "q", "other=1", "q=%F0%9F"]
)
def test_odd_queries_of_pages_are_answered(site, query):
    assert site.get(f"/search?{query}").status_code == 200
    assert site.get(f"/newcomer?{query}&r=%ff_1-5").status_code == 200


def raw(site, target: str, host: str = "shop.example") -> http.client.HTTPResponse:
    address = urlsplit(site.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.putrequest("GET", target, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


@pytest.mark.parametrize("path", ["/search", "/movies/7", "/newcomer", "/api/movies", "/healthz"])
def test_a_trailing_slash_leads_to_the_page_on_the_same_host_and_scheme(site, path):
    answer = raw(site, f"{path}/?q=a%20b")
    assert (answer.status, answer.headers["location"]) == (307, f"{path}?q=a%20b")
    probed = site.client.head(f"{path}/")
    assert (probed.status_code, probed.headers["location"]) == (307, path)


@pytest.mark.parametrize(
    "target", ["//evil.example/..", "//evil.example/movies/7/", "/\\evil.example/"]
)
def test_no_redirect_leaves_the_site(site, target):
    location = raw(site, target).headers["location"] or "/"
    assert location.startswith("/")
    assert location[1:2] not in ("/", "\\")


def test_the_description_names_problem_details(site):
    description = site.get("/openapi.json").json()
    found = description["paths"]["/api/movies"]["get"]["responses"]["422"]["content"]
    assert list(found) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(description)
