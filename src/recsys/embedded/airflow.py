"""Airflow as a service of the embedded stack; its metadata is in the embedded PostgreSQL.

This module starts Airflow as a process and does not import it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from recsys.embedded.home import Home, source_folder, write_private
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import Command, NotReadyError, Service, ServiceStatus
from recsys.embedded.s3 import BUCKET, REGION, S3
from recsys.errors import ConfigurationError, RecsysError, ServiceUnavailableError

if TYPE_CHECKING:
    from recsys.embedded.airflow_client import AirflowClient

_HOST = "127.0.0.1"
_USERNAME = "admin"
_DATABASE = "airflow"
_COMPONENTS = ("scheduler", "dag_processor", "triggerer")


@dataclass(frozen=True)
class AirflowAddresses:
    """URL and login of Airflow.

    Attributes:
        url: URL of the UI and the REST API.
        username: name of the only user, an admin.
        password: the user's password.
    """

    url: str
    username: str
    password: str = field(repr=False)


class Airflow(Service):
    """Scheduler, DAG processor, triggerer and API server.

    Args:
        home: the folder of the stack.
        dags: the DAGs folder; by default the project's.
        environment: additional environment variables.
    """

    name = "airflow"
    port_names = ("airflow",)
    # Four processes import Airflow at the same time, on a small machine.
    start_seconds = 180
    # Each check is two requests to a server that shares the cores with those that start.
    poll_seconds = 0.5

    def __init__(
        self,
        home: Home,
        dags: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(home)
        self._dags = dags
        self._environment = environment or {}

    def prepare(self) -> None:
        """Migrates the metadata database."""
        migrate(self.home)

    def command(self) -> Command:
        """Returns the command that runs all components."""
        return Command(
            [sys.executable, "-m", "recsys.embedded.airflow_components"],
            {**_process_environment(self.home, self._dags), **self._environment},
            self.folder,
        )

    def check(self) -> None:
        """Raises NotReadyError unless all components are healthy and the task API answers."""
        leader = self.leader()
        with client(self.home) as airflow:
            try:
                health = airflow.health()
                airflow.warm_execution_api()
            except RecsysError as error:
                raise NotReadyError(str(error)) from error
        for component in _COMPONENTS:
            state = health.get(component) or {}
            if state.get("status") != "healthy":
                raise NotReadyError(f"{component} is {state.get('status')}")
            # Airflow reports a killed component as healthy until its last heartbeat is too old.
            heartbeat = state.get(f"latest_{component}_heartbeat")
            if leader is not None and heartbeat and _before(heartbeat, leader.create_time()):
                raise NotReadyError(f"{component} has not started yet")

    def address(self) -> str:
        """Returns the URL of the UI and the REST API."""
        return f"http://{_HOST}:{self.home.ports(self.port_names)['airflow']}"


def environment(home: Home, dags: Path | None = None) -> dict[str, str]:
    """Returns the environment of all Airflow processes, including secrets.

    Unset PYTHONDONTWRITEBYTECODE as well: without bytecode, importing Airflow takes three times as
    long.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.
    """
    secrets = home.secrets()
    database, store = Postgres(home), S3(home)
    url = Airflow(home).address()
    folder = home.folder("airflow")
    dags = (dags or source_folder() / "dags").resolve()
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
        # The default is 32 workers.
        "CORE__PARALLELISM": "4",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{_USERNAME}:admin",
        # New and changed files appear within seconds; the default is five minutes.
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "DATABASE__SQL_ALCHEMY_CONN": _with_driver(database.dsn(_DATABASE), "psycopg2"),
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": _with_driver(database.dsn(_DATABASE), "asyncpg"),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        # The first request of a task can take longer than the default of 5 s.
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
        "RECSYS_RECOMMENDERS": os.environ.get("RECSYS_RECOMMENDERS")
        or str(source_folder() / "recommenders"),
        # Local servers recover within seconds or not at all.
        "RECSYS_RETRY_DELAY_S": "5",
        "AIRFLOW_CONN_RECSYS_S3": json.dumps(connection),
        "AIRFLOW_CONN_RECSYS_PG_VECTOR_BACKEND": database.dsn().replace(
            "postgresql://", "postgres://", 1
        ),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def migrate(home: Home) -> None:
    """Creates or upgrades the metadata database; returns quickly if it is current.

    PostgreSQL must be running.

    Raises:
        ConfigurationError: Airflow is not installed.
        ServiceUnavailableError: PostgreSQL does not answer, or the migration failed.
    """
    from importlib import metadata

    try:
        mark = f"migrated by Airflow {metadata.version('apache-airflow')}"
    except metadata.PackageNotFoundError:
        raise ConfigurationError(
            "Airflow is not installed",
            expected="the package apache-airflow",
            hint="install it: pip install 'recsys[airflow]'",
        ) from None
    name = sql.Identifier(_DATABASE)
    try:
        with Postgres(home).connect(_DATABASE, autocommit=True) as connection:
            # The mark is a comment on the database, so that it is lost only with the database.
            found = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
                " WHERE datname = current_database()"
            ).fetchone()
            if found == (mark,):
                return
            run_migration(home)
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(mark))
            )
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError(
            "Airflow's metadata database does not answer",
            found=str(error).strip(),
            hint="start the data services first: `recsys up`",
        ) from error


def start(
    home: Home, dags: Path | None = None, environment: Mapping[str, str] | None = None
) -> AirflowAddresses:
    """Starts Airflow unless it is running, and waits until all components are healthy.

    PostgreSQL and S3 must be running.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.
        environment: additional environment variables; a running Airflow does not get them.

    Raises:
        ServiceUnavailableError: it did not start; the message ends with its log's last lines.
    """
    with home.lock():
        Airflow(home, dags, environment).start()
    return addresses(home)


def stop(home: Home) -> None:
    """Stops Airflow: all components and running tasks."""
    with home.lock():
        Airflow(home).stop()


def status(home: Home) -> ServiceStatus:
    """Returns the status of Airflow."""
    return Airflow(home).status()


def addresses(home: Home) -> AirflowAddresses:
    """Returns URL and login of Airflow, whether it is running or not."""
    return AirflowAddresses(
        Airflow(home).address(), _USERNAME, home.secrets().airflow_admin_password
    )


def client(home: Home) -> AirflowClient:
    """Returns a client of this stack's Airflow; close it, or use it as a context manager."""
    # It imports requests, which most commands do not need.
    from recsys.embedded.airflow_client import AirflowClient

    airflow = addresses(home)
    return AirflowClient(airflow.url, airflow.username, airflow.password)


def has_database(home: Home) -> bool:
    """Returns whether the metadata database was made; PostgreSQL must be running."""
    with Postgres(home).connect() as connection:
        found = connection.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s",
            (_DATABASE,),
        ).fetchone()
    return found is not None and found[0] is not None


def forget_dags(home: Home, dag_ids: Sequence[str]) -> int:
    """Deletes what the metadata database has of DAGs; returns of how many it had something.

    PostgreSQL must be running.

    Raises:
        ServiceUnavailableError: a task of one of them is running, or the database fails.
    """
    if not has_database(home):
        return 0
    outcome = subprocess.run(  # noqa: S603  our own interpreter
        [sys.executable, "-m", "recsys_dag.history", *dag_ids],
        cwd=home.folder("airflow"),
        env=_process_environment(home, None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode:
        raise ServiceUnavailableError(
            "the history of the DAGs could not be deleted",
            found=home.redact(outcome.stderr[-1000:]).strip(),
            hint="repeat the command when no task of them is running",
        )
    return int(outcome.stdout.split()[-1])


def run_migration(home: Home) -> None:
    """Creates or upgrades Airflow's metadata database (``airflow db migrate``)."""
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
        output = home.redact((outcome.stdout + outcome.stderr)[-3000:])
        raise ServiceUnavailableError(
            "the migration of Airflow's metadata database failed",
            found=f"exit code {outcome.returncode}",
            hint=f"read the output of `airflow db migrate`:\n{output}",
        )


def _process_environment(home: Home, dags: Path | None) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    # Tasks need this environment's commands on PATH; requests to loopback must skip proxies.
    scripts = str(Path(sys.executable).parent)
    return {
        **inherited,
        **environment(home, dags),
        # Without buffering, the log's last lines survive a crash.
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        **no_proxy(),
    }


def no_proxy() -> dict[str, str]:
    """Returns the hosts without a proxy, in both spellings.

    Airflow's HTTP client refuses to start if an entry is a network of IPv6 or has brackets. Single
    addresses lose their brackets, and networks, which it would not understand, are left out.
    """
    # Imports requests, which most commands do without.
    from recsys.http_client import ipv6_network

    entries = [_HOST, "localhost"]
    for entry in re.split(
        r"[\s,]+", os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    ):
        network = ipv6_network(entry)
        if network is not None and network.prefixlen == network.max_prefixlen:
            entries.append(str(network.network_address))
        elif entry and network is None and "[" not in entry and "]" not in entry:
            entries.append(entry)
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(entries))


def _with_driver(dsn: str, driver: str) -> str:
    return dsn.replace("postgresql://", f"postgresql+{driver}://", 1)


def _before(heartbeat: Any, moment: float) -> bool:
    return datetime.fromisoformat(str(heartbeat)) < datetime.fromtimestamp(moment, UTC)
