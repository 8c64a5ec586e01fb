"""The stack as a whole: what runs, how to start and stop it, how clients reach it."""

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
    """Where the data services listen; holds no secret.

    Attributes:
        postgres: host and port.
        s3: the endpoint's URL.
    """

    postgres: str
    s3: str


def start_data_services(home: Home) -> Addresses:
    """Starts PostgreSQL and S3 unless they run, and waits until both serve.

    Raises:
        ServiceUnavailableError: one of them did not start; what this call started is stopped.
    """
    _start(home, _data_services(home))
    return Addresses(Postgres(home).address(), S3(home).address())


def stop_data_services(home: Home) -> None:
    """Stops PostgreSQL and S3; what is down already is no error."""
    with home.lock():
        for service in reversed(_data_services(home)):
            service.stop()


def start(home: Home, dags: Path | None = None) -> tuple[Addresses, airflow.AirflowAddresses]:
    """Starts the pipeline's servers that do not run: PostgreSQL, S3, Airflow.

    Args:
        home: the folder of the stack.
        dags: the folder of the DAGs; by default the project's.

    Raises:
        ServiceUnavailableError: one of them did not start; the others are left running.
    """
    return start_data_services(home), airflow.start(home, dags)


def stop(home: Home) -> None:
    """Stops everything; what is down already is no error."""
    site.stop(home)
    airflow.stop(home)
    stop_data_services(home)


def status(home: Home) -> list[ServiceStatus]:
    """What is known of each service now."""
    services = (*_data_services(home), airflow.Airflow(home), site.Site(home))
    return [service.status() for service in services]


@contextmanager
def data_services(home: Home) -> Iterator[Addresses]:
    """Runs PostgreSQL and S3 for the time of a block; what ran before is left running.

    Raises:
        ServiceUnavailableError: one of them did not start.
    """
    with _running(home, _data_services(home)):
        yield Addresses(Postgres(home).address(), S3(home).address())


@contextmanager
def object_store(home: Home) -> Iterator[None]:
    """Runs S3 alone for the time of a block; if it ran before, it is left running.

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
    """Starts the services that are not running and returns them; all or nothing."""
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
