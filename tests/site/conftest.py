"""Real servers, releases with a real Keras model, and the site with its own database account."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import uvicorn
from pydantic import SecretStr

from recsys.database import PostgresSettings
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from recsys.releases import promote_release
from recsys.services import Services
from recsys_site.app import create_app
from recsys_site.settings import SiteSettings
from tests import conftest as shared
from tests.actors import an_actor
from tests.http_session import HttpSession
from tests.site.real_releases import RealReleases

session_home = shared.session_home
postgres_server = shared.postgres_server
s3_server = shared.s3_server
pytest_terminal_summary = shared.pytest_terminal_summary

# As in the site, before a test makes a model.
os.environ["KERAS_BACKEND"] = "numpy"


@dataclass
class Site:
    """A running site and its servers."""

    url: str
    client: HttpSession
    services: Services
    releases: RealReleases
    numbers: dict[str, int]
    settings: SiteSettings

    def get(self, path: str, **parameters: Any) -> requests.Response:
        return self.client.get(path, params=parameters or None)

    def promote(self, number: int) -> str:
        """Promotes a release, without waiting until the site uses it."""
        release_id = next((r for r, n in self.numbers.items() if n == number), None)
        if release_id is None:
            release_id = self.releases.candidate(number)
            self.numbers[release_id] = number
        else:
            self.releases.judge(release_id)
        promote_release(self.services, release_id, actor=an_actor())
        return release_id

    def answers_with(self, release_id: str) -> bool:
        answer = self.get("/readyz").json()
        return bool(answer.get("release_id") == release_id)


def wait_for(done: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"the condition was not met within {seconds} s"
        time.sleep(0.05)


@contextmanager
def running_site(postgres: Postgres, s3: S3, **changed: Any) -> Iterator[Site]:
    """Runs a site in a thread of this process, with its own database and bucket."""
    with (
        shared.fresh_database(postgres) as dsn,
        shared.fresh_bucket(s3) as s3_settings,
        tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder,
    ):
        services = Services(postgres=PostgresSettings(dsn=SecretStr(dsn)), s3=s3_settings)
        settings = SiteSettings(
            **{
                "dsn": site_dsn(dsn),
                "s3_bucket": s3_settings.bucket,
                "s3_endpoint": s3_settings.endpoint,
                "access_key": s3_settings.access_key,
                "secret_key": s3_settings.secret_key,
                "models": Path(folder) / "models",
                "poll_seconds": 60,
            }
            | changed
        )
        with serving(settings) as url, HttpSession(url) as client:
            yield Site(url, client, services, RealReleases(services), {}, settings)


@contextmanager
def another_site(site: Site, **changed: Any) -> Iterator[Site]:
    """Runs one more site with the same servers and the same folder of models."""
    settings = site.settings.model_copy(update=changed)
    with serving(settings) as url, HttpSession(url) as client:
        yield replace(site, url=url, client=client, settings=settings)


@contextmanager
def serving(settings: SiteSettings) -> Iterator[str]:
    """Runs the app in a thread; provides its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)


def site_dsn(dsn: str) -> SecretStr:
    """Creates the site's account as an administrator would; returns its DSN."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "do $$ begin create role recsys_site nologin; "
            "exception when duplicate_object then null; end $$"
        )
        conn.execute(
            "do $$ begin create role site_of_tests login password 'p' in role recsys_site; "
            "exception when duplicate_object then null; end $$"
        )
        parts = conn.info
        return SecretStr(f"postgresql://site_of_tests:p@{parts.host}:{parts.port}/{parts.dbname}")


@pytest.fixture(scope="session")
def site(postgres_server: Postgres, s3_server: S3) -> Iterator[Site]:
    """A site that uses release number 1; tests must not promote another one."""
    with running_site(postgres_server, s3_server) as running:
        release_id = running.promote(1)
        wait_for(lambda: running.answers_with(release_id))
        yield running
