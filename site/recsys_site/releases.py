"""Keeps the site's release up to date in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import boto3
import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from psycopg_pool import ConnectionPool

from recsys_site.answers import SEARCH_WIDTH
from recsys_site.bundle import Bundle, BundleLoader, Live
from recsys_site.metrics import Metrics
from recsys_site.settings import SiteSettings
from release_reader import Connection, CurrentRelease, ReleaseReader, TornModelError

log = logging.getLogger(__name__)

State = Literal["ready", "degraded", "starting"]
# A statement that takes this long would fail its request anyhow.
_OPTIONS = (
    "-c default_transaction_read_only=on -c statement_timeout=5s "
    "-c idle_in_transaction_session_timeout=10s "
    # Searches return exactly the order of distances, and go on until enough are found.
    f"-c hnsw.iterative_scan=strict_order -c hnsw.ef_search={SEARCH_WIDTH}"
)
_CONNECT_SECONDS = 3
_POOL_SECONDS = 2.0


class UnavailableError(Exception):
    """The site cannot answer now; the text may be shown to visitors."""


class Releases:
    """The live release, connections to its tables, and whether all is well.

    Args:
        settings: where the servers are.
        metrics: told of every changeover.
    """

    def __init__(self, settings: SiteSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._dsn = settings.dsn.get_secret_value()
        self._options: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": _CONNECT_SECONDS,
            "options": _OPTIONS,
            "application_name": "recsys site",
        }
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            self._dsn,
            kwargs=self._options,
            min_size=1,
            max_size=settings.connections,
            timeout=_POOL_SECONDS,
            # Longer, and its growing pauses would outlast the database's absence.
            reconnect_timeout=5,
            # A connection that the server has closed is replaced before a request meets it.
            check=ConnectionPool.check_connection,
            open=False,
        )
        s3 = _s3_client(settings)
        self._loader = BundleLoader(self._connect, s3, settings.s3_bucket)
        self._reader: ReleaseReader[Bundle] = ReleaseReader(
            self._connect, s3, settings.s3_bucket, settings.models, self._load
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="releases", daemon=True)

    def start(self) -> None:
        """Begins to look for releases; returns at once."""
        self._pool.open(wait=False)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes all connections."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._pool.close()

    @property
    def at_hand(self) -> Live | None:
        """The release that answers, if there is one."""
        return self._reader.at_hand

    @property
    def live(self) -> Live:
        """The release to answer with: take it once in a request.

        Raises:
            UnavailableError: none was loaded yet.
        """
        live = self._reader.at_hand
        if live is None:
            raise UnavailableError(
                self.problem or "The first release is loading, or none was promoted yet."
            )
        return live

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lends a connection for one request.

        Raises:
            UnavailableError: the database does not answer, or has just dropped the release.
        """
        try:
            with self._pool.connection() as conn:
                yield conn
        except psycopg.errors.UndefinedTable as error:
            # Promotions came faster than this process could load them.
            raise UnavailableError("This release was retired; the next one is loading.") from error
        except psycopg.OperationalError as error:
            log.warning("the database does not answer: %s", type(error).__name__)
            raise UnavailableError("The database does not answer.") from error

    @property
    def state(self) -> State:
        """``ready``; ``degraded`` on the last good release; or ``starting`` without any."""
        if self._reader.at_hand is None:
            return "starting"
        return "degraded" if self._reader.problem else "ready"

    @property
    def problem(self) -> str | None:
        """What is wrong, in words that hold no address and no secret."""
        match self._reader.problem:
            case None:
                return None
            case psycopg.OperationalError():
                return "The database does not answer."
            case TornModelError():
                return "The model in the object store is not the one that the database names."
            case BotoCoreError() | ClientError():
                return "The object store does not answer as expected."
            case other:
                return f"A new release could not be loaded ({type(other).__name__})."

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        # Not from the pool: one listens for ever, and loading may take longer than a request.
        with psycopg.connect(self._dsn, **self._options) as conn:
            yield conn

    def _load(self, path: Path, release: CurrentRelease) -> Bundle:
        bundle = self._loader(path, release)
        self._metrics.changeovers.inc()
        return bundle

    def _watch(self) -> None:
        self._reader.watch(self._stop, self._settings.poll_seconds)


def _s3_client(settings: SiteSettings) -> Any:
    key, secret = settings.access_key, settings.secret_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            connect_timeout=3, read_timeout=20, retries={"mode": "standard", "max_attempts": 3}
        ),
    )
