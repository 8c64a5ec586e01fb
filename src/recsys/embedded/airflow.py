"""Airflow from the locked environment: its metadata in the embedded PostgreSQL.

Airflow is only ever a process here; this module does not import it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from recsys.embedded.airflow_client import AirflowClient
from recsys.embedded.home import Home, project_folder, write_private
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import Command, NotReadyError, Service, ServiceStatus
from recsys.embedded.s3 import BUCKET, REGION, S3
from recsys.errors import ConfigurationError, RecsysError, ServiceUnavailableError

_HOST = "127.0.0.1"
_USERNAME = "admin"
_DATABASE = "airflow"
_COMPONENTS = ("scheduler", "dag_processor", "triggerer")


@dataclass(frozen=True)
class AirflowAddresses:
    """Where Airflow listens and how to log in.

    Attributes:
        url: of the UI and the REST API.
        username: of the only user, an admin.
        password: of that user.
    """

    url: str
    username: str
    password: str = field(repr=False)


class Airflow(Service):
    """Scheduler, DAG processor, triggerer and API server.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.
    """

    name = "airflow"
    port_names = ("airflow",)
    # Four interpreters that import Airflow at once, on a small machine.
    start_seconds = 300

    def __init__(self, home: Home, dags: Path | None = None) -> None:
        super().__init__(home)
        self._dags = dags

    def prepare(self) -> None:
        """Brings the metadata database up to date."""
        migrate(self.home)

    def command(self) -> Command:
        """The process that runs all components."""
        return Command(
            [sys.executable, "-m", "recsys.embedded.airflow_components"],
            _process_environment(self.home, self._dags),
            self.folder,
        )

    def check(self) -> None:
        """Raises NotReadyError unless every component is healthy and tasks can call back."""
        leader = self.leader()
        with client(self.home) as airflow:
            try:
                health = airflow.health()
                airflow.warm_execution_api()
            except RecsysError as error:
                raise NotReadyError(str(error)) from error
        for component in _COMPONENTS:
            said = health.get(component) or {}
            if said.get("status") != "healthy":
                raise NotReadyError(f"{component} is {said.get('status')}")
            # The last heartbeat of a component that was killed looks healthy for a while.
            beat = said.get(f"latest_{component}_heartbeat")
            if leader is not None and beat and _before(beat, leader.create_time()):
                raise NotReadyError(f"{component} has not started yet")

    def address(self) -> str:
        """The URL of the UI and the REST API."""
        return f"http://{_HOST}:{self.home.ports(self.port_names)['airflow']}"


def environment(home: Home, dags: Path | None = None) -> dict[str, str]:
    """What every Airflow process of this stack needs; holds secrets.

    PYTHONDONTWRITEBYTECODE should be unset besides: without bytecode an import of Airflow takes
    three times as long.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.
    """
    secrets = home.secrets()
    database, store = Postgres(home), S3(home)
    url = Airflow(home).address()
    folder = home.folder("airflow")
    dags = (dags or project_folder() / "dags").resolve()
    passwords = folder / "passwords.json"
    write_private(passwords, json.dumps({_USERNAME: secrets.airflow_admin_password}))
    settings = {
        "API__BASE_URL": url,
        "API__EXPOSE_CONFIG": "False",
        "API__HOST": _HOST,
        "API__PORT": url.rpartition(":")[2],
        "API__SECRET_KEY": secrets.airflow_api_secret_key,
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.airflow_jwt_secret,
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__FERNET_KEY": secrets.airflow_fernet_key,
        "CORE__LOAD_EXAMPLES": "False",
        # 32 workers would be forked otherwise.
        "CORE__PARALLELISM": "4",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{_USERNAME}:admin",
        # New and changed files appear in seconds, not in five minutes.
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "DATABASE__SQL_ALCHEMY_CONN": _with_driver(database.dsn(_DATABASE), "psycopg2"),
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": _with_driver(database.dsn(_DATABASE), "asyncpg"),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        # The first request of a task may be slow; the default of 5 s killed first tasks.
        "WORKERS__EXECUTION_API_TIMEOUT": "60",
    }
    connection = {
        "conn_type": "aws",
        "login": secrets.s3_access_key,
        "password": secrets.s3_secret_key,
        "extra": {
            "endpoint_url": store.address(),
            "region_name": REGION,
            "bucket_name": BUCKET,
        },
    }
    source = home.source()
    return {
        "AIRFLOW_HOME": str(folder),
        **({"RECSYS_SOURCE": source} if source else {}),
        # Servers on this machine answer again in seconds or not at all.
        "RECSYS_RETRY_DELAY_S": "5",
        "AIRFLOW_CONN_RECSYS_S3": json.dumps(connection),
        "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND": database.dsn().replace(
            "postgresql://", "postgres://", 1
        ),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def migrate(home: Home) -> None:
    """Makes or upgrades the metadata database; fast when it is current. PostgreSQL must run.

    Raises:
        ConfigurationError: Airflow is not installed.
        ServiceUnavailableError: PostgreSQL does not answer, or Airflow could not migrate.
    """
    try:
        wanted = f"migrated by Airflow {metadata.version('apache-airflow')}"
    except metadata.PackageNotFoundError:
        raise ConfigurationError(
            "Airflow is not installed",
            expected="the package apache-airflow",
            hint="install recsys[airflow]",
        ) from None
    name = sql.Identifier(_DATABASE)
    try:
        with Postgres(home).connect(_DATABASE, autocommit=True) as connection:
            # The mark lives in the database itself, so that they can only be lost together.
            found = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
                " WHERE datname = current_database()"
            ).fetchone()
            if found == (wanted,):
                return
            _run_migration(home)
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(wanted))
            )
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            "Airflow's metadata database does not answer",
            found=str(error).strip(),
            hint="start the data services first: `recsys up`",
        ) from error


def start(home: Home, dags: Path | None = None) -> AirflowAddresses:
    """Starts Airflow unless it runs, and waits until all of it is healthy.

    The data services must run.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.

    Raises:
        ServiceUnavailableError: it did not start; the message ends with its log's last lines.
    """
    with home.lock():
        Airflow(home, dags).start()
    return addresses(home)


def stop(home: Home) -> None:
    """Ends Airflow, its components and the tasks they run."""
    with home.lock():
        Airflow(home).stop()


def status(home: Home) -> ServiceStatus:
    """What is known of Airflow now."""
    return Airflow(home).status()


def addresses(home: Home) -> AirflowAddresses:
    """Where Airflow listens, whether it runs or not, and how to log in."""
    return AirflowAddresses(
        Airflow(home).address(), _USERNAME, home.secrets().airflow_admin_password
    )


def client(home: Home) -> AirflowClient:
    """A client of this stack's Airflow; close it, or use it as a context manager."""
    where = addresses(home)
    return AirflowClient(where.url, where.username, where.password)


def _run_migration(home: Home) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        cwd=home.folder("airflow"),
        env=_process_environment(home, None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode:
        raise ServiceUnavailableError(
            "Airflow could not migrate its metadata database",
            hint=f"it said:\n{home.redact((outcome.stdout + outcome.stderr)[-3000:])}",
        )


def _process_environment(home: Home, dags: Path | None) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    # Tasks find this environment's commands, and no proxy stands before loopback.
    scripts = str(Path(sys.executable).parent)
    return {
        **inherited,
        **environment(home, dags),
        # The log's last lines matter most when a process dies.
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        "NO_PROXY": ",".join(filter(None, [_HOST, "localhost", os.environ.get("NO_PROXY", "")])),
    }


def _with_driver(dsn: str, driver: str) -> str:
    return dsn.replace("postgresql://", f"postgresql+{driver}://", 1)


def _before(beat: Any, moment: float) -> bool:
    return datetime.fromisoformat(str(beat)) < datetime.fromtimestamp(moment, UTC)
