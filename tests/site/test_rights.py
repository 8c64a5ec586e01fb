"""The site's account with the documented grants, and with each of them missing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from recsys_site import pages
from recsys_site.app import create_app
from recsys_site.sessions import open_session
from tests.site.conftest import Site, another_site, running_site, wait_for

ROUTES = {
    "/docs": "/docs",
    "/": "/",
    "/search": "/search?q=movie",
    "/movies/{movie_id}": "/movies/7",
    "/users": "/users?id=3",
    "/users/{user_id}": "/users/3",
    "/newcomer": "/newcomer?r=5-5_9-1",
    "/release": "/release",
    "/api/release": "/api/release",
    "/api/movies": "/api/movies?q=movie",
    "/api/movies/{movie_id}": "/api/movies/7",
    "/api/movies/{movie_id}/similar": "/api/movies/7/similar",
    "/api/users/{user_id}/recommendations": "/api/users/3/recommendations",
    "/api/recommendations": "",
    "/healthz": "/healthz",
    "/readyz": "/readyz",
    "/metrics": "/metrics",
    "/openapi.json": "/openapi.json",
    "/static": "/static/site.css",
}
COLD_START = {"ratings": [{"movie_id": 5, "stars": 5}]}


@pytest.fixture(scope="module")
def site(postgres_server, s3_server) -> Iterator[Site]:
    """A site whose account has what docs/security.md grants, in a database that grants no more."""
    with running_site(postgres_server, s3_server, poll_seconds=0.2) as running:
        with admin(running) as conn:
            name = conn.info.dbname
            conn.execute(f'revoke all on database "{name}" from public')
            conn.execute(f'grant connect on database "{name}" to recsys_site')
            conn.execute("revoke all on schema public from public")
            conn.execute("grant usage on schema public to recsys_site")
        release_id = running.promote(1)
        wait_for(lambda: running.answers_with(release_id))
        yield running


def admin(site: Site) -> psycopg.Connection[tuple[object, ...]]:
    dsn = site.services.postgres.dsn
    assert dsn is not None
    return psycopg.connect(dsn.get_secret_value(), autocommit=True)


def test_every_page_and_route_works_with_the_documented_grants(site):
    described = create_app(site.settings).openapi()["paths"]
    assert {*described, *(route.path for route in pages.router.routes)} <= set(ROUTES)
    for template, path in ROUTES.items():
        if path:
            answer = site.get(path)
        else:
            answer = site.client.post(template, json=COLD_START)
        assert answer.status_code == (303 if path == "/users?id=3" else 200), template
    assert site.get("/readyz").json()["status"] == "ready"


def test_a_missing_grant_is_named_in_the_log_and_repaired_by_what_it_says(site, caplog):
    with admin(site) as conn:
        tables = dict(
            conn.execute(
                "select unnest(array['movie', 'user']), "
                "unnest(array[movie_vectors_table, user_towers_table]) from recsys.current_release"
            ).fetchall()
        )
        for revoked, granted, path in (
            (
                "revoke recsys_site from site_of_tests",
                "recsys_site to site_of_tests",
                "/movies/7",
            ),
            # A member that has to say SET ROLE.
            (
                "grant recsys_site to site_of_tests with inherit false",
                "recsys_site to site_of_tests with inherit true",
                "/movies/7",
            ),
            (
                "revoke usage on schema recsys from recsys_site",
                "usage on schema recsys to recsys_site",
                "/movies/7",
            ),
            (
                f"revoke select on {tables['movie']} from recsys_site",
                f"select on {tables['movie']} to recsys_site",
                "/api/movies/7/similar",
            ),
            (
                f"revoke select on {tables['user']} from recsys_site",
                f"select on {tables['user']} to recsys_site",
                "/users/3",
            ),
            # pgvector's operators are in this schema.
            (
                "revoke usage on schema public from recsys_site",
                "usage on schema public to recsys_site",
                "/users/3",
            ),
            (
                "revoke select on recsys.current_release from recsys_site",
                "select on recsys.current_release to recsys_site",
                "",
            ),
            (
                f'revoke connect on database "{conn.info.dbname}" from recsys_site',
                f'connect on database "{conn.info.dbname}" to recsys_site',
                "",
            ),
        ):
            caplog.clear()
            conn.execute(revoked)
            if path:
                answer = site.get(path)
                assert answer.status_code == 503, granted
                assert answer.headers["retry-after"] == "5"
                assert "the site's log names" in answer.text.replace("&#39;", "'"), answer.text
            else:
                # The release in use stays in use.
                wait_for(lambda: "log names" in site.get("/readyz").json().get("problem", ""))
                assert site.get("/movies/7").status_code == 200
            logged = " ".join(caplog.messages)
            assert f"an administrator runs: grant {granted}" in logged
            assert not any(record.exc_info for record in caplog.records)
            conn.execute(f"grant {granted}")
            wait_for(lambda: site.get("/readyz").json()["status"] == "ready")
            assert site.get(path or "/movies/7").status_code == 200


def test_a_search_path_without_the_schema_of_pgvector_is_named(site):
    dsn = make_conninfo(
        site.settings.dsn.get_secret_value(), options="-c search_path=recsys,nowhere"
    )
    with (
        pytest.raises(psycopg.errors.UndefinedFunction) as refused,
        open_session(dsn) as session,
    ):
        session.execute("select vector <=> vector from recsys_live.movie_vectors")
    [note] = refused.value.__notes__
    assert note.endswith("alter role site_of_tests set search_path = recsys,nowhere, public")


def test_a_site_that_starts_without_its_role_says_so(site, caplog):
    caplog.set_level(logging.ERROR)
    with admin(site) as conn:
        conn.execute("revoke recsys_site from site_of_tests")
        conn.execute(f'grant connect on database "{conn.info.dbname}" to site_of_tests')
        try:
            with another_site(site) as refused:
                wait_for(lambda: "log names" in refused.get("/readyz").json().get("problem", ""))
                assert refused.get("/").status_code == 503
        finally:
            conn.execute("grant recsys_site to site_of_tests")
    assert "an administrator runs: grant recsys_site to site_of_tests" in caplog.text
    assert "Traceback" not in caplog.text
