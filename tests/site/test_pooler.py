"""The site behind PgBouncer, which gives each transaction another session of PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from recsys_site.__main__ import main
from recsys_site.sessions import open_session, request_settings
from recsys_site.settings import SiteSettings
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
    with pooler(dsn, "transaction", pool_size=VISITORS + 2, ignored="") as address:
        yield address


@pytest.fixture
def kept(direct: Site) -> Iterator[str]:
    dsn = direct.settings.dsn.get_secret_value()
    with pooler(dsn, "session", pool_size=direct.settings.connections + 2, ignored="") as address:
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


def test_the_site_answers_and_changes_over_as_with_a_direct_connection(direct, through, kept):
    with (
        another_site(direct, dsn=SecretStr(through)) as pooled,
        another_site(direct, dsn=SecretStr(kept)) as in_sessions,
    ):
        for number in (1, 2):
            release_id = direct.promote(number)
            for site in (direct, pooled, in_sessions):
                wait_for(lambda site=site, wanted=release_id: site.answers_with(wanted))
            expected = answers_of(direct.client)
            assert all(answer.startswith("200 ") for answer in expected)
            assert answers_of_visitors(pooled) == [expected] * (TIMES * VISITORS)
            assert answers_of(in_sessions.client) == expected
        for site in (pooled, in_sessions):
            assert site.get("/readyz").json()["status"] == "ready"
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


def start(monkeypatch: pytest.MonkeyPatch, settings: SiteSettings, dsn: str) -> str:
    """Runs the site's command, which refuses the address; returns what it says."""
    monkeypatch.setenv("RECSYS_SITE_DSN", dsn)
    monkeypatch.setenv("RECSYS_SITE_S3_BUCKET", settings.s3_bucket)
    monkeypatch.setenv("RECSYS_SITE_S3_ENDPOINT", str(settings.s3_endpoint))
    with pytest.raises(SystemExit) as refused:
        main()
    return str(refused.value)


def test_a_pooler_in_statement_mode_is_refused_with_what_to_do(direct, monkeypatch, caplog):
    with pooler(direct.settings.dsn.get_secret_value(), "statement") as through:
        said = start(monkeypatch, direct.settings, through)
        assert "statement mode" in said
        assert "set its pool_mode to transaction or session" in said
        # A server that was down when the site started leads to such a pooler later.
        with another_site(direct, dsn=SecretStr(through)) as refused:
            wait_for(lambda: "pooler" in refused.get("/readyz").json().get("problem", ""))
            page = refused.get("/")
            assert (page.status_code, "connection pooler" in page.text) == (503, True)
    ours = [record for record in caplog.records if record.name == "release_reader"]
    assert any("set its pool_mode" in record.getMessage() for record in ours)
    assert not any(record.exc_info for record in ours)


@pytest.mark.parametrize("form", ["in the address", "PGOPTIONS", "PGGEQO"])
def test_a_parameter_that_the_pooler_refuses_is_named_at_the_start(direct, monkeypatch, form):
    dsn = direct.settings.dsn.get_secret_value()
    options = "-c search_path=public"
    with pooler(dsn, "transaction", ignored="") as through:
        if form == "in the address":
            through, dsn = (make_conninfo(each, options=options) for each in (through, dsn))
        else:
            monkeypatch.setenv(form, "off" if form == "PGGEQO" else options)
        said = start(monkeypatch, direct.settings, through)
        assert "remove options from RECSYS_SITE_DSN and unset PGOPTIONS" in said
        assert "ignore_startup_parameters" in said
        with open_session(dsn) as session:
            assert not session.pooled, "a direct connection may have it"
    assert "\n" not in said
