"""The stack as a whole: start, stop, status, and addresses for clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recsys.embedded import airflow, site
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import Service, ServiceStatus
from recsys.embedded.s3 import BUCKET, REGION, S3


@dataclass(frozen=True)
class Addresses:
    """Addresses of the data services, without secrets.

    Attributes:
        postgres: host and port.
        s3: URL of the endpoint.
    """

    postgres: str
    s3: str


def start_data_services(home: Home) -> Addresses:
    """Starts PostgreSQL and S3 unless they are running, and waits until both are ready.

    Raises:
        ServiceUnavailableError: one of them did not start; both are stopped again if this call
            started them.
    """
    _start(home, _data_services(home))
    return Addresses(Postgres(home).address(), S3(home).address())


def stop_data_services(home: Home) -> None:
    """Stops PostgreSQL and S3; does nothing if they are not running."""
    with home.lock():
        for service in reversed(_data_services(home)):
            service.stop()


def start(home: Home, dags: Path | None = None) -> tuple[Addresses, airflow.AirflowAddresses]:
    """Starts PostgreSQL, S3 and Airflow unless they are running.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.

    Raises:
        ServiceUnavailableError: one of them did not start; the others keep running.
    """
    return start_data_services(home), airflow.start(home, dags)


def stop(home: Home) -> None:
    """Stops all services; does nothing for those that are not running."""
    site.stop(home)
    airflow.stop(home)
    stop_data_services(home)


def status(home: Home) -> list[ServiceStatus]:
    """Returns the status of each service."""
    services = (*_data_services(home), airflow.Airflow(home), site.Site(home))
    return [service.status() for service in services]


@contextmanager
def data_services(home: Home) -> Iterator[Addresses]:
    """Runs PostgreSQL and S3 during a block; if they ran before, they keep running.

    Raises:
        ServiceUnavailableError: one of them did not start.
    """
    with _running(home, _data_services(home)):
        yield Addresses(Postgres(home).address(), S3(home).address())


@contextmanager
def object_store(home: Home) -> Iterator[None]:
    """Runs only S3 during a block; if it ran before, it keeps running.

    Raises:
        ServiceUnavailableError: it did not start.
    """
    with _running(home, [S3(home)]):
        yield


def environment(home: Home) -> dict[str, str]:
    """Returns the environment variables for clients of PostgreSQL and S3, including secrets."""
    return {"RECSYS_PG_DSN": Postgres(home).dsn(), **s3_environment(home)}


def s3_environment(home: Home) -> dict[str, str]:
    """Returns the environment variables for clients of S3, including secrets."""
    store = S3(home)
    return {
        "RECSYS_S3_ENDPOINT": store.address(),
        "RECSYS_S3_BUCKET": BUCKET,
        "RECSYS_S3_REGION": REGION,
        **store.credentials(),
    }


def _data_services(home: Home) -> list[Service]:
    return [Postgres(home), S3(home)]


@contextmanager
def _running(home: Home, services: list[Service]) -> Iterator[None]:
    started = _start(home, services)
    try:
        yield
    finally:
        with home.lock():
            for service in reversed(started):
                service.stop()


def _start(home: Home, services: list[Service]) -> list[Service]:
    """Starts the services that are not running, all or none; returns those it started."""
    started: list[Service] = []
    with home.lock():
        try:
            for service in services:
                if service.start():
                    started.append(service)
        except BaseException:
            for service in reversed(started):
                service.stop()
            raise
    return started
