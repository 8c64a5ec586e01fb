"""Release readers as a site has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psycopg

from recsys.services import Services
from release_reader import ReleaseReader


def s3_client(services: Services) -> Any:
    s3 = services.s3
    assert s3.access_key is not None
    assert s3.secret_key is not None
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key.get_secret_value(),
        aws_secret_access_key=s3.secret_key.get_secret_value(),
    )


def make_reader(
    services: Services, s3: Any, folder: Path, dsn: str | None = None, **options: Any
) -> ReleaseReader[bytes]:
    """A reader with the rights of the site's role, whose models are their bytes.

    Args:
        services: the servers.
        s3: what it downloads with.
        folder: of the models.
        dsn: the database, if it is another one than that of the services.
        options: of each connection.
    """

    @contextmanager
    def connect() -> Iterator[psycopg.Connection[Any]]:
        address = dsn or services.postgres.dsn.get_secret_value()
        with psycopg.connect(address, **options) as conn:
            yield conn

    return ReleaseReader(
        connect,
        s3,
        services.s3.bucket,
        folder,
        lambda path, release: path.read_bytes(),
        prefix=services.s3.prefix,
    )


@contextmanager
def watching(reader: ReleaseReader[bytes]) -> Iterator[None]:
    """Runs the reader's `watch` in a thread."""
    stop = threading.Event()
    watcher = threading.Thread(target=reader.watch, args=(stop, 0.2))  # seconds
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join(timeout=300)
    assert not watcher.is_alive()


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, "the condition was not met"
        time.sleep(0.02)
