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
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
class LiveRelease(Generic[Model]):
    """One release, whole: hold on to it for the length of a request.

    Attributes:
        release_id: of model and vectors alike.
        model_sha256: of the model's file, 64 hex digits.
        model: what ``load`` made of the model's file.
        movie_vectors: table to query for movies like one, by ``<=>`` (cosine distance).
        user_towers: table with a user's vector and the movies that the user has rated.
        movie_towers: table to query for movies for a user, by ``<#>`` (negative inner product).
    """

    release_id: str
    model_sha256: str
    model: Model
    movie_vectors: str
    user_towers: str
    movie_towers: str


class ReleaseReader(Generic[Model]):
    """Keeps the live release at hand.

    Args:
        connect: opens a connection to the vector database; may log in as ``recsys_site``.
        s3: a boto3 S3 client, or anything with its ``get_object``.
        bucket: of the models.
        folder: where this process keeps its models; files of earlier releases are removed.
        load: makes a model of a file, for example
            ``lambda path: keras.saving.load_model(path, safe_mode=True)``.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        s3: Any,
        bucket: str,
        folder: Path,
        load: Callable[[Path], Model],
    ) -> None:
        self._connect = connect
        self._s3 = s3
        self._bucket = bucket
        self._folder = folder
        self._load = load
        self._live: LiveRelease[Model] | None = None
        self._refreshing = threading.Lock()

    @property
    def live(self) -> LiveRelease[Model]:
        """The release to answer with; reads the database only the first time."""
        if self._live is None:
            self.refresh()
        if self._live is None:
            raise LookupError("no release was promoted yet")
        return self._live

    def refresh(self) -> bool:
        """Changes over to the current release; returns whether it is another one.

        Until it returns, and if it raises, readers go on with the release before.

        Raises:
            TornModelError: the model's sha256 is not the one that the database names.
        """
        with self._refreshing:
            with self._connect() as conn, conn.cursor(row_factory=dict_row) as cur:
                row = cur.execute("select * from recsys.current_release").fetchone()
            if row is None or (self._live and self._live.model_sha256 == row["model_sha256"]):
                return False
            self._live = LiveRelease(
                release_id=row["release_id"],
                model_sha256=row["model_sha256"],
                model=self._load(self._fetch(row)),
                movie_vectors=row["movie_vectors_table"],
                user_towers=row["user_towers_table"],
                movie_towers=row["movie_towers_table"],
            )
            log.info("answering with release %s", row["release_id"])
            return True

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
                        for _ in conn.notifies(timeout=interval, stop_after=1):
                            pass
            except Exception:
                log.exception("could not look for a new release; trying again")
                stop.wait(min(interval, 5.0))

    def _fetch(self, row: dict[str, Any]) -> Path:
        """Downloads the model of a row, unless it is here already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{row['model_sha256']}.keras"
        if not path.exists():
            partial = path.with_suffix(".partial")
            digest = hashlib.sha256()
            body = self._s3.get_object(Bucket=self._bucket, Key=row["model_key"])["Body"]
            with partial.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != row["model_sha256"]:
                partial.unlink()
                raise TornModelError(
                    f"{row['model_key']}: found sha256 {digest.hexdigest()}, "
                    f"expected {row['model_sha256']}"
                )
            partial.replace(path)
        for other in self._folder.glob("*.keras"):
            if other != path:
                other.unlink()
        return path
