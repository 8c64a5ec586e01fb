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


def test_without_its_environment_the_site_is_left_out(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A project without the site, in whose place the code's own folder is not taken.
    (tmp_path / "dags" / "recsys_dag").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert site.start(server.home) is None
