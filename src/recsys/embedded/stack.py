"""The stack as a whole: start, stop, status, and addresses for clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recsys.embedded import airflow, site
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.processes import Service, ServiceStatus, stop_quickly
from recsys.embedded.s3 import BUCKET, REGION, S3
from recsys.errors import StoppedBySignal


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

    They keep running until `stop_data_services`, also if a command started them for itself.

    Raises:
        ServiceUnavailableError: one of them did not start; both are stopped again if this call
            started them.
    """
    with home.lock():
        _start(_data_services(home))
        for service in _data_services(home):
            _temporary(service).unlink(missing_ok=True)
    return Addresses(Postgres(home).address(), S3(home).address())


def stop_data_services(home: Home) -> None:
    """Stops PostgreSQL and S3; does nothing if they are not running."""
    with home.lock():
        _stop(_data_services(home))


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
    site.stop_all(home)
    airflow.stop(home)
    stop_data_services(home)


@contextmanager
def starting(home: Home) -> Iterator[None]:
    """Stops what the block started if a signal ends the block; what ran before keeps running."""
    before = {service.name for service in _all(home) if service.leader() is not None}
    try:
        yield
    except StoppedBySignal:
        with home.lock():
            stop_quickly([service for service in _all(home) if service.name not in before])
        raise


def status(home: Home) -> list[ServiceStatus]:
    """Returns the status of each service."""
    # A site that only somebody's command starts is no part of the stack while it is stopped.
    services = [each for each in _all(home) if _is_started_by_up(each) or each.leader() is not None]
    return [service.status() for service in services]


def data_services_running(home: Home) -> dict[str, bool]:
    """Returns by name whether PostgreSQL and S3 answer."""
    return {service.name: service.status().running for service in _data_services(home)}


@contextmanager
def data_services(home: Home) -> Iterator[Addresses]:
    """Runs PostgreSQL and S3 during a block; if they ran before, they keep running.

    If other processes use them at the end of the block, the last one of these stops them.

    Raises:
        ServiceUnavailableError: one of them did not start.
    """
    with _running(home, _data_services(home)):
        yield Addresses(Postgres(home).address(), S3(home).address())


@contextmanager
def object_store(home: Home) -> Iterator[None]:
    """Runs only S3 during a block; otherwise as `data_services`.

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


def _all(home: Home) -> list[Service]:
    return [*_data_services(home), airflow.Airflow(home), *site.known_sites(home)]


def _is_started_by_up(service: Service) -> bool:
    return not (isinstance(service, site.Site) and service.served.recommender)


def _data_services(home: Home) -> list[Service]:
    return [Postgres(home), S3(home)]


@contextmanager
def _running(home: Home, services: list[Service]) -> Iterator[None]:
    with home.in_use() as ends_last_use:
        with home.lock():
            _start(services, temporary=True)
        quickly = False
        try:
            yield
        except StoppedBySignal:
            quickly = True
            raise
        finally:
            with home.lock():
                if ends_last_use():
                    # All of them: the process that started the others may have been killed.
                    _stop([s for s in _data_services(home) if _temporary(s).exists()], quickly)


def _start(services: list[Service], *, temporary: bool = False) -> None:
    """Starts the services that are not running, all or none; the home must be locked."""
    started: list[Service] = []
    try:
        for service in services:
            if temporary and service.leader() is None:
                # Before the start, so that a server whose starter is killed is stopped, too.
                _temporary(service).touch()
            if service.start():
                started.append(service)
                if temporary:
                    _temporary(service).touch()
    except BaseException as error:
        _stop(started, quickly=isinstance(error, StoppedBySignal))
        raise


def _stop(services: list[Service], quickly: bool = False) -> None:
    if quickly:
        stop_quickly(services)
    for service in reversed(services):
        if not quickly:
            service.stop()
        _temporary(service).unlink(missing_ok=True)


def _temporary(service: Service) -> Path:
    """Returns the file that marks a server as one to be stopped by its last user."""
    return service.folder / "temporary"
