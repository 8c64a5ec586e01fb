"""The reference site as a service of the stack, with its own environment and database account.

Each recommender can have one: a process with its own port, folder and account.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from recsys.contract import SITE_ROLE
from recsys.embedded.home import Home, source_folder, write_private
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import Command, NotReadyError, Service, ServiceStatus
from recsys.embedded.s3 import BUCKET, REGION, S3
from recsys.errors import ServiceUnavailableError
from recsys.trainer_process import is_machine_variable

ACCOUNT = "recsys_site_reader"
_NAME = "site"
_HOST = "127.0.0.1"
_DATABASE = "recsys"
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG")


@dataclass(frozen=True)
class Served:
    """What a site serves; by default, what the stack's first recommender has released.

    Attributes:
        recommender: name of another recommender.
        database: its database.
        role: the role of its readers.
        key_prefix: prefix of its keys in the bucket.
    """

    recommender: str = ""
    database: str = _DATABASE
    role: str = SITE_ROLE
    key_prefix: str = ""

    @property
    def service(self) -> str:
        """Name of the service, of its port and of its folder."""
        return f"{_NAME}_{self.recommender}" if self.recommender else _NAME

    @property
    def account(self) -> str:
        """The site's account in PostgreSQL; no role of a recommender has this name."""
        return f"recsys_reader_{self.recommender}" if self.recommender else ACCOUNT


class Site(Service):
    """The reference site; it serves pages once a release was promoted.

    Args:
        home: the folder of the stack.
        source: the site's folder with its virtual environment; by default the project's.
        served: what it serves.
    """

    name = _NAME

    def __init__(
        self, home: Home, source: Path | None = None, served: Served | None = None
    ) -> None:
        self.served = served or Served()
        self.name = self.served.service
        self.port_names = (self.name,)
        super().__init__(home)
        self.source = (source or source_folder() / "site").resolve()

    @property
    def python(self) -> Path:
        """Interpreter of the site's environment, which ``make setup`` creates."""
        return self.source / ".venv" / "bin" / "python"

    def prepare(self) -> None:
        """Creates the site's account, which may only read the champion's tables."""
        names = self.served.role, self.served.account
        role, account = map(sql.Identifier, names)
        with Postgres(self.home).connect(self.served.database) as conn:
            for name in names:
                found = conn.execute("select from pg_roles where rolname = %s", (name,))
                if found.fetchone() is None:
                    conn.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
            conn.execute(
                sql.SQL("alter role {} login password {} connection limit 40").format(
                    account, sql.Literal(self._password())
                )
            )
            conn.execute(sql.SQL("grant {} to {}").format(role, account))

    def command(self) -> Command:
        """Returns the command of the site's server."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED_ON or is_machine_variable(name)
        }
        return Command(
            [str(self.python), "-m", "recsys_site"],
            {**inherited, **self.environment()},
            self.folder,
        )

    def environment(self) -> dict[str, str]:
        """Returns the site's environment variables, including secrets."""
        password = quote(self._password(), safe="")
        return {
            "PYTHONPATH": str(self.source),
            "PYTHONUNBUFFERED": "1",
            "RECSYS_SITE_DSN": (
                f"postgresql://{self.served.account}:{password}@{Postgres(self.home).address()}"
                f"/{self.served.database}"
            ),
            "RECSYS_SITE_S3_PREFIX": self.served.key_prefix,
            "RECSYS_SITE_S3_BUCKET": BUCKET,
            "RECSYS_SITE_S3_ENDPOINT": S3(self.home).address(),
            "RECSYS_SITE_S3_REGION": REGION,
            "RECSYS_SITE_HOST": _HOST,
            "RECSYS_SITE_PORT": str(self._port),
            "RECSYS_SITE_MODELS": str(self.folder / "models"),
            # Requests to loopback must skip proxies.
            "NO_PROXY": _HOST,
            **S3(self.home).credentials(),
        }

    def check(self) -> None:
        """Raises NotReadyError unless the site answers and has loaded the champion, if any."""
        state = self._read_state()
        if state.get("status") == "starting" and self._has_champion():
            raise NotReadyError("the release is loading")

    def status(self) -> ServiceStatus:
        """Returns the status of the site; its detail is the release that it serves."""
        status = super().status()
        if not status.running:
            return status
        state = self._read_state()
        detail = state.get("problem") or state.get("release_id") or "no release was promoted yet"
        return ServiceStatus(self.name, True, status.address, status.pid, str(detail))

    def address(self) -> str:
        """Returns the URL of the home page."""
        return f"http://{_HOST}:{self._port}"

    @property
    def _port(self) -> int:
        return self.home.ports(self.port_names)[self.name]

    def _read_state(self) -> dict[str, object]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            try:
                with opener.open(f"{self.address()}/readyz", timeout=5) as answer:
                    body = answer.read()
            except urllib.error.HTTPError as error:
                body = error.read()
            state = json.loads(body)
        except (OSError, ValueError) as error:
            raise NotReadyError(str(error)) from error
        if not isinstance(state, dict) or "status" not in state:
            raise NotReadyError("another program answers on the site's port")
        return state

    def _has_champion(self) -> bool:
        try:
            with Postgres(self.home).connect(self.served.database) as conn:
                return conn.execute("select from recsys.current_release").fetchone() is not None
        except psycopg.Error:
            return False

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()


def start(home: Home, served: Served | None = None) -> str | None:
    """Starts a site unless it is running, and waits until it is ready.

    PostgreSQL and S3 must be running.

    Args:
        home: the folder of the stack.
        served: what it serves; by default the first recommender's releases.

    Returns:
        The site's URL; None if its environment does not exist, as after an install from a wheel.

    Raises:
        ServiceUnavailableError: it did not start; the message ends with its log's last lines.
    """
    site = Site(home, served=served)
    if not site.python.exists():
        return None
    try:
        with home.lock():
            site.start()
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            "the site's database does not answer",
            found=str(error).strip(),
            hint="start the data services first: `recsys up`",
        ) from error
    return site.address()


def stop(home: Home, served: Served | None = None) -> None:
    """Stops a site; does nothing if it is not running."""
    with home.lock():
        Site(home, served=served).stop()


def stop_all(home: Home) -> None:
    """Stops the sites of all recommenders."""
    with home.lock():
        for site in known_sites(home):
            site.stop()


def known_sites(home: Home) -> list[Site]:
    """Returns the first recommender's site, and those of others that were started once."""
    others = sorted(path.name for path in home.path.glob(f"{_NAME}_*") if path.is_dir())
    names = [name.removeprefix(f"{_NAME}_") for name in others]
    return [Site(home), *(Site(home, served=Served(name)) for name in names)]


def remove(home: Home, served: Served) -> None:
    """Stops the site of a recommender that goes, and drops its account and its folder.

    PostgreSQL must be running.
    """
    with home.lock():
        site = Site(home, served=served)
        site.stop()
        with Postgres(home).connect(_DATABASE) as conn:
            conn.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(served.account)))
        shutil.rmtree(site.folder)
        home.forget_ports(site.port_names)
