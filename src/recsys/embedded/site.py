"""The reference site as a service of the stack, with its own environment and database account."""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
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
_HOST = "127.0.0.1"
_DATABASE = "recsys"
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG")


class Site(Service):
    """The reference site; it serves pages once a release was promoted.

    Args:
        home: the folder of the stack.
        source: the site's folder with its virtual environment; by default the project's.
    """

    name = "site"
    port_names = ("site",)

    def __init__(self, home: Home, source: Path | None = None) -> None:
        super().__init__(home)
        self.source = (source or source_folder() / "site").resolve()

    @property
    def python(self) -> Path:
        """Interpreter of the site's environment, which ``make setup`` creates."""
        return self.source / ".venv" / "bin" / "python"

    def prepare(self) -> None:
        """Creates the site's account, which may only read the champion's tables."""
        account, role = sql.Identifier(ACCOUNT), sql.Identifier(SITE_ROLE)
        with Postgres(self.home).connect(_DATABASE) as conn:
            for name in (SITE_ROLE, ACCOUNT):
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
                f"postgresql://{ACCOUNT}:{password}@{Postgres(self.home).address()}/{_DATABASE}"
            ),
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
        return self.home.ports(self.port_names)["site"]

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
            with Postgres(self.home).connect(_DATABASE) as conn:
                return conn.execute("select from recsys.current_release").fetchone() is not None
        except psycopg.Error:
            return False

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()


def start(home: Home) -> str | None:
    """Starts the site unless it is running, and waits until it is ready.

    PostgreSQL and S3 must be running.

    Returns:
        The site's URL; None if its environment does not exist, as after an install from a wheel.

    Raises:
        ServiceUnavailableError: it did not start; the message ends with its log's last lines.
    """
    site = Site(home)
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


def stop(home: Home) -> None:
    """Stops the site; does nothing if it is not running."""
    with home.lock():
        Site(home).stop()


def status(home: Home) -> ServiceStatus:
    """Returns the status of the site."""
    return Site(home).status()
