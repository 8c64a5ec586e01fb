"""The reference site as a service of the stack, before the first promotion."""

from __future__ import annotations

import ipaddress
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from recsys import database, ledger
from recsys.database import PostgresSettings
from recsys.embedded import site, stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.site import Site
from tests.http_session import HttpSession


@pytest.fixture
def server(repository: Path, home: Home) -> Iterator[Site]:
    """The site of a separate stack, because other tests promote releases in the shared one."""
    made = Site(home, repository / "site")
    if not made.python.exists():
        pytest.skip("the site's environment is not set up: make setup")
    with stack.data_services(home):
        yield made
        with made.home.lock():
            made.stop()


def test_the_site_waits_for_a_release_and_heals_after_a_kill(server: Site) -> None:
    assert not server.status().running
    with server.home.lock():
        assert server.start()
        assert not server.start(), "it runs already"
    known = server.status()
    assert known.running
    assert known.detail == "no release was promoted yet"
    with HttpSession(server.address()) as session:
        page = session.get("/")
    assert page.status_code == 503
    assert "none has been promoted yet" in page.text
    assert known.pid is not None
    listening = {found.laddr for found in psutil.Process(known.pid).net_connections("tcp")}
    assert all(ipaddress.ip_address(address.ip).is_loopback for address in listening)
    assert urlsplit(server.address()).port in {address.port for address in listening}
    os.kill(known.pid, signal.SIGKILL)
    with server.home.lock():
        assert server.start()
        server.stop()
    assert server.members() == []
    secrets = (server.folder / "password").read_text(), *server.home.secrets().__dict__.values()
    assert not any(secret in server.log.read_text() for secret in secrets)


def test_the_sites_account_reads_what_is_live_and_nothing_else(server: Site) -> None:
    server.prepare()
    postgres = Postgres(server.home)
    with database.connect(PostgresSettings.model_validate({"dsn": postgres.dsn()})) as conn:
        ledger.prepare(conn)
    server.prepare()
    dsn = server.environment()["RECSYS_SITE_DSN"]
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("select * from recsys.current_release")
        for statement in ("select * from recsys.releases", "create table public.t (a int)"):
            with pytest.raises(InsufficientPrivilege):
                conn.execute(statement)


def test_another_recommender_has_a_site_of_its_own_until_it_goes(server: Site) -> None:
    postgres = Postgres(server.home)
    served = site.Served("books", "books", "recsys_site_books", "books/")
    with postgres.connect("recsys", autocommit=True) as conn:
        conn.execute("create role recsys_site_books")
        conn.execute("create database books")
        conn.execute("revoke all on database books from public")
        conn.execute("grant connect on database books to recsys_site_books")
    server.prepare()
    address = site.start(server.home, served)
    assert address is not None
    assert address != server.address()
    with HttpSession(address) as session:
        assert "none has been promoted yet" in session.get("/").text
    books = Site(server.home, served=served)
    assert books.environment()["RECSYS_SITE_S3_PREFIX"] == "books/"
    with psycopg.connect(books.environment()["RECSYS_SITE_DSN"]) as conn:
        assert conn.execute("select current_database()").fetchone() == ("books",)
    # The account of the first recommender's site has no access.
    theirs = server.environment()["RECSYS_SITE_DSN"].removesuffix("/recsys") + "/books"
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(theirs)
    assert [each.name for each in stack.status(server.home)][-2:] == ["site", "site_books"]
    site.remove(server.home, served)
    assert books.members() == []
    assert [each.name for each in stack.status(server.home)][-1] == "site"
    with postgres.connect("recsys", autocommit=True) as conn:
        [(left,)] = conn.execute(
            "select count(*) from pg_roles where rolname = 'recsys_reader_books'"
        ).fetchall()
        assert left == 0
        # Nobody is connected any more.
        conn.execute("drop database books")
        conn.execute("drop role recsys_site_books")


def test_down_stops_the_sites_of_all(server: Site) -> None:
    server.prepare()
    books = site.Served("books")
    started = site.start(server.home, books)
    assert started is not None
    stack.stop(server.home)
    assert Site(server.home, served=books).members() == []


def test_without_its_environment_the_site_is_left_out(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A project without the site, in whose place the code's own folder is not taken.
    (tmp_path / "dags" / "recsys_dag").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert site.start(server.home) is None
