"""Reads releases: a matching pair of model and vectors, replaced without a restart.

The consumer rule: read the one row of ``recsys.current_release``; load the model under the key that
it names, and check its sha256; query the tables that it names; use them until the row changes. The
model under that key and those tables never change, so model and vectors always belong to the same
release. The tables of the previous champion remain for a while: retirement keeps them.

This module and `model_files` depend only on psycopg and an S3 client with ``get_object``;
`release_signature` verifies who made a release, if a site has public keys: copy all three files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.rows import dict_row, tuple_row

from model_files import ModelFiles, TornModelError
from release_signature import TrustedKeys, UnprovenReleaseError

log = logging.getLogger(__name__)

CHANNEL = "recsys_release"
USERS_ERASED = "users erased"
"""Payload of a notification: the tables answer without some users from now on."""
_CURRENT_RELEASE = "select * from recsys.current_release"
_TABLE_SUFFIX = "_table"
_CHUNK = 1 << 20
Model = TypeVar("Model")
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class CurrentRelease:
    """The row of ``recsys.current_release``.

    Attributes:
        release_id: id of the release that the model and the vectors belong to.
        dataset_md5: md5 of the dataset that the release was made from; its titles are in S3 under
            ``features/<dataset_md5>/movies.parquet``.
        model_key: S3 key of the model.
        model_sha256: sha256 of the model's file, 64 hex digits.
        tables: the release's table, with its schema, by public name.
        promoted_at: time at which it became the champion.
    """

    release_id: str
    dataset_md5: str
    model_key: str
    model_sha256: str
    tables: Mapping[str, str]
    promoted_at: datetime

    @property
    def movie_vectors(self) -> str:
        """Table for similar movies, ordered by ``<=>`` (cosine distance)."""
        return self.tables["movie_vectors"]

    @property
    def user_towers(self) -> str:
        """Table with each user's vector and the movies that the user has rated."""
        return self.tables["user_towers"]

    @property
    def movie_towers(self) -> str:
        """Table for movies for a user, ordered by ``<#>`` (negative inner product)."""
        return self.tables["movie_towers"]


@dataclass(frozen=True)
class LiveRelease(CurrentRelease, Generic[Model]):
    """A release with its model; use the same object throughout a request.

    Attributes:
        model: the value that ``load`` returned for the model's file.
    """

    model: Model


class ReleaseReader(Generic[Model]):
    """Loads the current release and replaces it when another one is promoted.

    Args:
        connect: opens a connection to the vector database, or a standby of it; its account needs
            the role ``recsys_site``. It may lead through a pooler, whatever its mode.
        s3: a boto3 S3 client, or an object with the same ``get_object``.
        bucket: the bucket of the models.
        folder: local folder for the model; files of earlier releases are removed. Processes may
            share it.
        load: loads a model from a file, for example
            ``lambda path, release: keras.saving.load_model(path, safe_mode=True)``. It may load
            more of the release; its result is replaced together with the tables.
        forget: drops what else is kept of users; called when users were erased, before the release
            is loaded again.
        trusted: public keys, one of which must have signed a release before its model is
            downloaded; None to use releases without a signature, too.
        prefix: prefix of all keys in the bucket, if several recommenders share it, with a slash
            at its end; the keys of a release are relative to it.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        s3: Any,
        bucket: str,
        folder: Path,
        load: Callable[[Path, CurrentRelease], Model],
        trusted: TrustedKeys | None = None,
        forget: Callable[[], None] = lambda: None,
        prefix: str = "",
    ) -> None:
        self._connect = connect
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._files = ModelFiles(folder)
        self._load = load
        self._trusted = trusted
        self._forget = forget
        self._live: LiveRelease[Model] | None = None
        self._problem: Exception | None = None
        self._obstacle: str | None = None
        self._refreshing = threading.Lock()

    @property
    def live(self) -> LiveRelease[Model]:
        """The release to use; only the first call reads the database.

        Raises:
            LookupError: no release has been promoted yet.
        """
        if self._live is None:
            self.refresh()
        if self._live is None:
            raise LookupError("no release has been promoted yet")
        return self._live

    @property
    def loaded(self) -> LiveRelease[Model] | None:
        """The release to use, or None if none has been loaded; returns immediately."""
        return self._live

    @property
    def problem(self) -> Exception | None:
        """Why the last check for a new release failed; None if it succeeded."""
        return self._problem

    def refresh(self, *, again: bool = False) -> bool:
        """Loads the current release if it is a new one; returns whether it loaded one.

        Until it returns, and if it raises, readers use the previous release.

        Args:
            again: load it also if it is the one in use.

        Raises:
            TornModelError: the model's sha256 differs from the one in the database.
            UnprovenReleaseError: no trusted key has signed the release.
        """
        with self._refreshing:
            try:
                changed = self._load_current(again)
            except Exception as error:
                self._problem = error
                raise
            self._problem = None
            return changed

    def _load_current(self, again: bool) -> bool:
        release = self._read()
        live = self._live
        if release is None or (
            live is not None
            and not again
            # A build that is trained again has the same id, but may have another model.
            and (live.release_id, live.model_sha256) == (release.release_id, release.model_sha256)
        ):
            return False
        if self._trusted is not None:
            signature = self._signature(release.release_id)
            self._trusted.check(signature, release.release_id, release.model_sha256)
        try:
            with self._files.verified(
                release.model_sha256, lambda: self._download(release.model_key)
            ) as path:
                model = self._load(path, release)
        except TornModelError as error:
            raise TornModelError(f"{release.model_key}: {error}") from error
        # A single assignment: readers of `live` see either the previous or the new release.
        self._live = LiveRelease(**vars(release), model=model)
        log.info("loaded release %s", release.release_id)
        return True

    def _read(self) -> CurrentRelease | None:
        # Binary, because psycopg reads times as text in one DateStyle only.
        with self._connect() as conn, conn.cursor(row_factory=dict_row, binary=True) as cur:
            try:
                # Not prepared: a pooler may run each transaction in another session.
                row = cur.execute(_CURRENT_RELEASE, prepare=False).fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return None  # A new database: no run has created the ledger yet.
        if row is None:
            return None
        return CurrentRelease(
            release_id=row["release_id"],
            dataset_md5=row["dataset_md5"],
            model_key=row["model_key"],
            model_sha256=row["model_sha256"],
            tables={
                column.removesuffix(_TABLE_SUFFIX): row[column]
                for column in row
                if column.endswith(_TABLE_SUFFIX)
            },
            promoted_at=row["promoted_at"],
        )

    def watch(self, stop: threading.Event, interval: float = 30.0) -> None:
        """Calls `refresh` at each promotion and every ``interval`` seconds, until ``stop`` is set.

        Run it in a separate thread. PostgreSQL notifies at once of a promotion (NOTIFY); the
        interval covers notifications that were missed while the connection was down. A standby and
        a pooler can't notify: there, a promotion is found after ``interval`` seconds. Errors are
        logged, and the previous release stays in use.
        """
        while not stop.is_set():
            try:
                with self._connect() as conn:
                    conn.autocommit = True
                    obstacle = _listen(conn)
                    self._log_obstacle(obstacle)
                    erased = False
                    while obstacle is None and not stop.is_set():
                        if erased:
                            self._forget()
                        self.refresh(again=erased)
                        erased = self._wait(conn, stop, interval)
                if not stop.is_set():
                    self.refresh()
                    stop.wait(interval)
            except Exception as error:
                self._problem = error
                _log_failure(error)
                stop.wait(min(interval, 5.0))

    def _log_obstacle(self, obstacle: str | None) -> None:
        """Logs only a change: `watch` tries to listen again at each check."""
        if obstacle != self._obstacle:
            if obstacle is None:
                log.info("promotions are announced now")
            else:
                log.warning("promotions are not announced, so they are polled: %s", obstacle)
        self._obstacle = obstacle

    def _wait(self, conn: Connection, stop: threading.Event, interval: float) -> bool:
        """Returns at a notification, after ``interval`` seconds, or soon after ``stop`` is set.

        Returns:
            Whether users were erased.
        """
        end = time.monotonic() + interval
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            payloads = [
                notice.payload for notice in conn.notifies(timeout=min(left, 1.0), stop_after=1)
            ]
            if payloads:
                return USERS_ERASED in payloads
        return False

    def _signature(self, release_id: str) -> bytes:
        key = f"releases/{release_id}/model.sig"
        try:
            return b"".join(self._download(key))
        except Exception as error:
            # boto3's errors; this module does not import botocore.
            answer = getattr(error, "response", {}).get("Error", {})
            if answer.get("Code") == "NoSuchKey":
                raise UnprovenReleaseError(f"release {release_id}: it is not signed") from error
            raise

    def _download(self, key: str) -> Iterable[bytes]:
        answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
        chunks: Iterable[bytes] = answer["Body"].iter_chunks(_CHUNK)
        return chunks


def is_pooled(conn: Connection) -> bool:
    """Whether a pooler is between: its clients get other process ids than those of the server."""
    with conn.cursor(row_factory=tuple_row) as cur:
        found = cur.execute("select pg_backend_pid()", prepare=False).fetchone()
    return found != (conn.info.backend_pid,)


def describe(error: Exception) -> str:
    """Returns the first line of an error's text, and its notes; other lines quote statements."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "; ".join([text, *getattr(error, "__notes__", ())])


def _log_failure(error: Exception) -> None:
    what = "checking for a new release failed; trying again"
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        # It is libpq's: it quotes the address that it cannot parse, which may hold a password.
        log.error("%s: the address of the database is invalid", what)
    elif isinstance(
        error, psycopg.OperationalError | psycopg.errors.InsufficientPrivilege
    ) or hasattr(error, "__notes__"):
        # The server, the account or its rights are the cause: a traceback would hide it.
        log.error("%s: %s", what, describe(error))
    else:
        log.error(what, exc_info=error)


def _listen(conn: Connection) -> str | None:
    """Subscribes to promotions; returns why that is impossible, or None if it is done."""
    if is_pooled(conn):
        # The subscription would stay in a session that the pooler then gives to others.
        return "a connection pooler is between"
    try:
        conn.execute(f"listen {CHANNEL}")
    except psycopg.OperationalError:
        raise
    except psycopg.DatabaseError as error:
        # On a standby: "cannot execute LISTEN during recovery".
        return str(error)
    return None
