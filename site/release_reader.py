"""How a site reads releases: the exact pair of model and vectors, changed over without a restart.

The consumer rule: read the one row of ``recsys.current_release``; load the model under the key that
it names, and check its sha256; query the tables that it names; keep all of them until the next row.
None of them ever changes under its name, so model and vectors are of one release by construction,
whatever is promoted meanwhile. A release that was left behind stays for a while: retirement keeps
the previous champion.

This module stands alone (psycopg, and any S3 client with ``get_object``): copy it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.rows import dict_row

log = logging.getLogger(__name__)

CHANNEL = "recsys_release"
_CHUNK = 1 << 20
Model = TypeVar("Model")
Connection = psycopg.Connection[Any]


class TornModelError(Exception):
    """The model in S3 is not the one that the database names."""


@dataclass(frozen=True)
class CurrentRelease:
    """The row of ``recsys.current_release``.

    Attributes:
        release_id: of model and vectors alike.
        dataset_md5: of the dataset that the release was made of; its titles lie in S3 under
            ``features/<dataset_md5>/movies.parquet``.
        model_key: of the model in S3.
        model_sha256: of the model's file, 64 hex digits.
        movie_vectors: table to query for movies like one, by ``<=>`` (cosine distance).
        user_towers: table with a user's vector and the movies that the user has rated.
        movie_towers: table to query for movies for a user, by ``<#>`` (negative inner product).
        promoted_at: when it became the champion.
    """

    release_id: str
    dataset_md5: str
    model_key: str
    model_sha256: str
    movie_vectors: str
    user_towers: str
    movie_towers: str
    promoted_at: datetime


@dataclass(frozen=True)
class LiveRelease(CurrentRelease, Generic[Model]):
    """One release, whole: hold on to it for the length of a request.

    Attributes:
        model: what ``load`` made of the model's file.
    """

    model: Model


class ReleaseReader(Generic[Model]):
    """Keeps the live release at hand.

    Args:
        connect: opens a connection to the vector database; may log in as ``recsys_site``.
        s3: a boto3 S3 client, or anything with its ``get_object``.
        bucket: of the models.
        folder: where this process keeps its models; files of earlier releases are removed.
        load: makes a model of a file, for example
            ``lambda path, release: keras.saving.load_model(path, safe_mode=True)``; it may read
            more of the release, and what it returns changes over with the tables, as one.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        s3: Any,
        bucket: str,
        folder: Path,
        load: Callable[[Path, CurrentRelease], Model],
    ) -> None:
        self._connect = connect
        self._s3 = s3
        self._bucket = bucket
        self._folder = folder
        self._load = load
        self._live: LiveRelease[Model] | None = None
        self._problem: Exception | None = None
        self._refreshing = threading.Lock()

    @property
    def live(self) -> LiveRelease[Model]:
        """The release to answer with; reads the database only the first time."""
        if self._live is None:
            self.refresh()
        if self._live is None:
            raise LookupError("no release was promoted yet")
        return self._live

    @property
    def at_hand(self) -> LiveRelease[Model] | None:
        """The release to answer with, if one was loaded; never waits."""
        return self._live

    @property
    def problem(self) -> Exception | None:
        """Why the last look for a new release failed; None while all is well."""
        return self._problem

    def refresh(self) -> bool:
        """Changes over to the current release; returns whether it is another one.

        Until it returns, and if it raises, readers go on with the release before.

        Raises:
            TornModelError: the model's sha256 is not the one that the database names.
        """
        with self._refreshing:
            try:
                changed = self._change_over()
            except Exception as error:
                self._problem = error
                raise
            self._problem = None
            return changed

    def _change_over(self) -> bool:
        release = self._read()
        live = self._live
        if release is None or (
            live is not None
            # The same build made anew has the same id, and may have another model.
            and (live.release_id, live.model_sha256) == (release.release_id, release.model_sha256)
        ):
            return False
        model = self._load(self._fetch(release), release)
        # One assignment: whoever reads `live` sees the release before or this one, whole.
        self._live = LiveRelease(**vars(release), model=model)
        log.info("answering with release %s", release.release_id)
        return True

    def _read(self) -> CurrentRelease | None:
        with self._connect() as conn, conn.cursor(row_factory=dict_row) as cur:
            try:
                row = cur.execute("select * from recsys.current_release").fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return None  # No run has been there yet.
        if row is None:
            return None
        return CurrentRelease(
            release_id=row["release_id"],
            dataset_md5=row["dataset_md5"],
            model_key=row["model_key"],
            model_sha256=row["model_sha256"],
            movie_vectors=row["movie_vectors_table"],
            user_towers=row["user_towers_table"],
            movie_towers=row["movie_towers_table"],
            promoted_at=row["promoted_at"],
        )

    def watch(self, stop: threading.Event, interval: float = 30.0) -> None:
        """Keeps up until ``stop`` is set: at each promotion, and every ``interval`` seconds.

        Run it in a thread of its own. PostgreSQL announces a promotion at once (NOTIFY); the
        interval is for what is missed while the connection is down. Errors are logged, and the
        release at hand goes on answering.
        """
        while not stop.is_set():
            try:
                with self._connect() as conn:
                    conn.autocommit = True
                    conn.execute(f"listen {CHANNEL}")
                    while not stop.is_set():
                        self.refresh()
                        self._wait(conn, stop, interval)
            except Exception as error:
                self._problem = error
                log.exception("could not look for a new release; trying again")
                stop.wait(min(interval, 5.0))

    def _wait(self, conn: Connection, stop: threading.Event, interval: float) -> None:
        """Returns at an announcement, after ``interval`` seconds, or soon after ``stop``."""
        end = time.monotonic() + interval
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            for _ in conn.notifies(timeout=min(left, 1.0), stop_after=1):
                return

    def _fetch(self, release: CurrentRelease) -> Path:
        """Downloads the model of a release, unless it is here already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{release.model_sha256}.keras"
        if not path.exists():
            partial = path.with_suffix(".partial")
            digest = hashlib.sha256()
            body = self._s3.get_object(Bucket=self._bucket, Key=release.model_key)["Body"]
            with partial.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != release.model_sha256:
                partial.unlink()
                raise TornModelError(
                    f"{release.model_key}: found sha256 {digest.hexdigest()}, "
                    f"expected {release.model_sha256}"
                )
            partial.replace(path)
        for other in self._folder.glob("*.keras"):
            if other != path:
                other.unlink()
        return path
