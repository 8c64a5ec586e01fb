"""Keeps the site's release up to date in a separate thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import boto3
import botocore.session
import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from psycopg_pool import ConnectionPool

from certificate_authorities import trusted_file
from model_files import TornModelError
from recsys_site.bundle import Bundle, BundleLoader, Live
from recsys_site.metrics import Metrics
from recsys_site.model import UnsupportedModelError
from recsys_site.obstacles import explained_rights, lacks_a_right, unusable_pooler
from recsys_site.sessions import OPTIONS, Session, begin_session, open_session, request_settings
from recsys_site.settings import SiteSettings
from release_reader import Connection, CurrentRelease, ReleaseReader, describe
from release_signature import TrustedKeys, UnprovenReleaseError

log = logging.getLogger(__name__)

_NO_DATABASE = "The database is not available."
_NO_RIGHT = "The database refuses the site's account a right, which the site's log names."
_OF_POOLER = "The connection pooler does not serve the site; the site's log says why."
State = Literal["ready", "degraded", "starting"]
_POOL_SECONDS = 2.0
_KEPT_BUNDLES = 2
"""The release in use and the one before it."""


class UnavailableError(Exception):
    """No release or no database is available; the text may be shown to visitors."""


class Releases:
    """The live release, connections to its tables, and their state.

    Args:
        settings: servers and credentials.
        metrics: counts changes of release.
    """

    def __init__(self, settings: SiteSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._dsn = settings.dsn.get_secret_value()
        self._pool: ConnectionPool[Session] = ConnectionPool(
            self._dsn,
            connection_class=Session,
            kwargs=OPTIONS,
            configure=begin_session,
            min_size=1,
            max_size=settings.connections,
            timeout=_POOL_SECONDS,
            # With a longer timeout, the growing pauses between attempts would outlast an outage.
            reconnect_timeout=5,
            # Replaces a connection that the server has closed before a request gets it.
            check=ConnectionPool.check_connection,
            open=False,
        )
        s3 = open_s3_client(settings)
        self._kept: dict[tuple[str, str, str], Bundle] = {}
        self._loader = BundleLoader(self._load_session, s3, settings.s3_bucket, settings.s3_prefix)
        self._reader: ReleaseReader[Bundle] = ReleaseReader(
            self._connect,
            s3,
            settings.s3_bucket,
            settings.models,
            self._load,
            TrustedKeys(settings.verification_keys) if settings.verification_keys else None,
            # Examples of users, and how often movies were rated.
            forget=self._kept.clear,
            prefix=settings.s3_prefix,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="releases", daemon=True)

    def start(self) -> None:
        """Starts to check for releases; returns immediately."""
        self._pool.open(wait=False)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and closes all connections."""
        self._stop.set()
        self._thread.join(timeout=5)
        self._pool.close()

    @property
    def loaded(self) -> Live | None:
        """The release in use, or None before the first one is loaded."""
        return self._reader.loaded

    @property
    def live(self) -> Live:
        """The release in use; read it once per request.

        Raises:
            UnavailableError: no release has been loaded yet.
        """
        live = self._reader.loaded
        if live is None:
            raise UnavailableError(
                self.problem or "The first release is loading, or none has been promoted yet."
            )
        return live

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Provides a connection for one request.

        Raises:
            UnavailableError: the database is unavailable, or has just dropped the release's tables.
        """
        try:
            with (
                self._pool.connection() as session,
                explained_rights(session, self._tables()),
                request_settings(session),
            ):
                yield session
        except psycopg.errors.UndefinedTable as error:
            # Releases were promoted and retired faster than this process could load them.
            raise UnavailableError("This release was retired; the next one is loading.") from error
        except psycopg.errors.QueryCanceled as error:
            log.warning("a statement was ended: %s", error.diag.message_primary)
            raise UnavailableError("The database took too long to answer.") from error
        except psycopg.OperationalError as error:
            reason = unusable_pooler(error)
            log.warning("the database is not available: %s", reason or type(error).__name__)
            raise UnavailableError(_OF_POOLER if reason else _NO_DATABASE) from error
        except psycopg.ProgrammingError as error:
            if not lacks_a_right(error):
                raise
            log.error("the site's account lacks a right: %s", describe(error))
            raise UnavailableError(_NO_RIGHT) from error

    def _tables(self) -> list[str]:
        live = self._reader.loaded
        return list(live.tables.values()) if live else []

    @property
    def state(self) -> State:
        """``ready``, ``degraded`` (on the last good release), or ``starting`` (no release yet)."""
        if self._reader.loaded is None:
            return "starting"
        return "degraded" if self._reader.problem else "ready"

    @property
    def problem(self) -> str | None:
        """What is wrong, as a text without addresses and secrets; None if nothing is."""
        match self._reader.problem:
            case None:
                return None
            case psycopg.errors.QueryCanceled():
                return "The database took too long to answer."
            case error if lacks_a_right(error):
                return _NO_RIGHT
            case error if unusable_pooler(error):
                return _OF_POOLER
            case psycopg.OperationalError():
                return _NO_DATABASE
            case TornModelError():
                return "The model in the object store is not the one that the database names."
            case UnprovenReleaseError():
                return "The new release is not signed with a key that this site trusts."
            case BotoCoreError() | ClientError():
                return "The object store is not available or lacks a file."
            case UnsupportedModelError() as error:
                return str(error)
            case other:
                return f"A new release could not be loaded ({type(other).__name__})."

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        # Not from the pool: one connection listens permanently, and loading may take longer than a
        # request.
        with open_session(self._dsn) as session:
            yield session

    @contextmanager
    def _load_session(self, release: CurrentRelease) -> Iterator[Connection]:
        tables = release.tables.values()
        with open_session(self._dsn, tables) as session, request_settings(session):
            yield session

    def _load(self, path: Path, release: CurrentRelease) -> Bundle:
        # A rollback returns to the release before, which this process has had in use: loading it
        # again would slow down requests for seconds.
        identity = (release.release_id, release.model_sha256, release.dataset_md5)
        bundle = self._kept.pop(identity, None)
        if bundle is None:
            bundle = self._loader(path, release)
        else:
            bundle = replace(bundle, loaded_at=datetime.now(UTC))
        self._kept[identity] = bundle
        while len(self._kept) > _KEPT_BUNDLES:
            del self._kept[next(iter(self._kept))]
        self._metrics.changeovers.inc()
        return bundle

    def _watch(self) -> None:
        self._reader.watch(self._stop, self._settings.poll_seconds)


def open_s3_client(settings: SiteSettings) -> Any:
    """Creates the S3 client; without keys, boto3 finds the identity of the machine or pod.

    Raises:
        InvalidAuthoritiesError: a variable names no certificates.
    """
    secrets = (settings.access_key, settings.secret_key, settings.session_token)
    key, secret, token = (s.get_secret_value() if s else None for s in secrets)
    core = botocore.session.get_session()
    # AWS_CA_BUNDLE, or `ca_bundle` in a file. boto3 reads no folder, and not SSL_CERT_FILE.
    trusted = trusted_file(core.get_config_variable("ca_bundle"))
    if trusted:
        # For the clients that the session makes itself, such as of STS for a web identity.
        core.set_config_variable("ca_bundle", trusted)
    return boto3.Session(botocore_session=core).client(
        "s3",
        verify=trusted,
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(
            connect_timeout=3, read_timeout=20, retries={"mode": "standard", "max_attempts": 3}
        ),
    )
