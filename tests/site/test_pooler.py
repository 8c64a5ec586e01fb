"""The site behind PgBouncer, which gives each transaction another session of PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from recsys_site.sessions import open_session, request_settings
from tests.http_session import HttpSession
from tests.pooler import pooler
from tests.site.conftest import Site, another_site, running_site, wait_for

ASKED = (
    "/api/movies/7/similar",
    # More than there are: the search is repeated without the index.
    "/api/movies/7/similar?count=50",
    "/api/users/3/recommendations?count=50",
    "/api/users/4/recommendations",
    "/movies/7",
    "/users/3",
)
COLD_START = {"ratings": [{"movie_id": 5, "stars": 5}, {"movie_id": 9, "stars": 1}]}
TIMES = 7
"""Requests of each kind; from the sixth on, psycopg would prepare their statements."""
VISITORS = 2


@pytest.fixture
def direct(postgres_server, s3_server) -> Iterator[Site]:
    with running_site(postgres_server, s3_server, poll_seconds=0.5) as running:
        yield running


@pytest.fixture
def through(direct: Site) -> Iterator[str]:
    dsn = direct.settings.dsn.get_secret_value()
    with pooler(dsn, "transaction", pool_size=VISITORS + 2) as address:
        yield address


def answers_of(client: HttpSession) -> list[str]:
    responses = [client.get(path) for path in ASKED]
    responses.append(client.post("/api/recommendations", json=COLD_START))
    return [f"{each.status_code} {each.text}" for each in responses]


def answers_of_visitors(site: Site) -> list[list[str]]:
    """What several visitors at once are answered."""
    answers: list[list[str]] = []

    def visit() -> None:
        with HttpSession(site.url) as client:
            for _ in range(TIMES):
                answers.append(answers_of(client))

    visitors = [threading.Thread(target=visit) for _ in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    return answers


def test_the_site_answers_and_changes_over_as_with_a_direct_connection(direct, through):
    with another_site(direct, dsn=SecretStr(through)) as pooled:
        for number in (1, 2):
            release_id = direct.promote(number)
            for site in (direct, pooled):
                wait_for(lambda site=site, wanted=release_id: site.answers_with(wanted))
            expected = answers_of(direct.client)
            assert all(answer.startswith("200 ") for answer in expected)
            assert answers_of_visitors(pooled) == [expected] * (TIMES * VISITORS)
        assert pooled.get("/readyz").json()["status"] == "ready"
    # What the site set must not reach the other clients of the pooler.
    with psycopg.connect(through, autocommit=True) as other:
        for name, value in (("statement_timeout", "0"), ("default_transaction_read_only", "off")):
            assert other.execute(f"show {name}").fetchone() == (value,)
        assert other.execute("select * from pg_listening_channels()").fetchall() == []


def test_each_request_has_the_settings_of_the_site(direct):
    dsn = direct.settings.dsn.get_secret_value()
    with pooler(dsn, "transaction") as through, pooler(dsn, "session") as kept:
        for address, pooled in ((dsn, False), (through, True), (kept, True)):
            with open_session(address) as session, request_settings(session):
                assert session.pooled == pooled
                for name, value in (
                    ("transaction_read_only", "on"),
                    ("statement_timeout", "5s"),
                    ("idle_in_transaction_session_timeout", "10s"),
                    ("hnsw.iterative_scan", "strict_order"),
                    ("hnsw.ef_search", "400"),
                ):
                    found = session.execute("select current_setting(%s)", (name,)).fetchone()
                    assert found == (value,), name
