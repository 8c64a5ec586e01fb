"""What the site keeps of a release in memory: one immutable object, made in the background."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, LiteralString

from psycopg import sql

from recsys_site.catalog import Catalog
from recsys_site.model import StarModel
from recsys_site.scale import RatingScale, read_scale
from release_reader import Connection, CurrentRelease, LiveRelease

_COUNTED_USERS: Final = 20_000
"""Users whose ratings are counted for the popularity of movies: quick at any size."""
_EXAMPLES: Final = 6
_NARROW: Final = 32
_USER_IDS: Final = "select userid from {} order by userid limit %s"
_RATING_COUNTS: Final = (
    "select movie, count(*) from (select seen from {} order by userid limit %s) users, "
    "unnest(seen) movie group by movie"
)


@dataclass(frozen=True)
class Bundle:
    """Everything of a release besides its tables.

    Attributes:
        stars: the Keras model.
        catalog: the movies of the dataset.
        examples: ids of some users.
        scale: of the dataset's ratings.
        has_half_stars: whether ratings of the dataset have half stars, or half points.
        ids_as_text: whether the API has ids as text; see `has_long_ids`.
        load_seconds: time it took to make, without the download of the model.
        loaded_at: when it was ready.
    """

    stars: StarModel
    catalog: Catalog
    examples: tuple[int, ...]
    scale: RatingScale
    has_half_stars: bool
    ids_as_text: bool
    load_seconds: float
    loaded_at: datetime


Live = LiveRelease[Bundle]


class BundleLoader:
    """Makes the bundle of a release; `release_reader.ReleaseReader` calls it.

    Args:
        connect: opens a connection to the vector database, for a release.
        s3: a boto3 S3 client.
        bucket: the bucket of the releases.
        prefix: prefix of all keys in it.
    """

    def __init__(
        self,
        connect: Callable[[CurrentRelease], AbstractContextManager[Connection]],
        s3: Any,
        bucket: str,
        prefix: str = "",
    ) -> None:
        self._connect = connect
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix

    def __call__(self, path: Path, release: CurrentRelease) -> Bundle:
        """Loads the bundle.

        Args:
            path: the release's model, its sha256 already checked.
            release: the release whose tables and titles are read.

        Raises:
            LookupError: the table of user towers is empty.
        """
        began = time.monotonic()
        stars = StarModel(path)
        key = f"features/{release.dataset_md5}/movies.parquet"
        titles = self._read(key)
        manifest = self._read(f"{release.model_key.rpartition('/')[0]}/manifest.json")
        limit = (_COUNTED_USERS,)
        with self._connect(release) as conn, conn.cursor(binary=True) as cur:
            ids = [user for (user,) in cur.execute(table(_USER_IDS, release.user_towers), limit)]
            popularity = cur.execute(table(_RATING_COUNTS, release.user_towers), limit).fetchall()
            if not ids:
                raise LookupError(f"{release.user_towers} has no rows")
        return Bundle(
            stars=stars,
            catalog=Catalog.from_parquet(titles, dict(popularity)),
            examples=tuple(ids[:: max(1, len(ids) // _EXAMPLES)][:_EXAMPLES]),
            scale=read_scale(json.loads(manifest)),
            has_half_stars=has_half_stars(manifest),
            ids_as_text=has_long_ids(json.loads(manifest)),
            load_seconds=time.monotonic() - began,
            loaded_at=datetime.now(UTC),
        )

    def _read(self, key: str) -> bytes:
        answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + key)
        content: bytes = answer["Body"].read()
        return content


def has_long_ids(manifest: dict[str, Any]) -> bool:
    """Reads from a release's manifest whether its dataset has ids of 64 bits.

    A program in JavaScript would round such numbers in JSON without noticing.
    """
    features = manifest.get("build", {}).get("settings", {}).get("features") or {}
    return bool(features.get("id_bits", _NARROW) != _NARROW)


def has_half_stars(manifest: bytes) -> bool:
    """Reads from a release's manifest whether its dataset has ratings with half stars.

    The manifest counts the holdout's ratings by stars. True if it does not.
    """
    counted = json.loads(manifest).get("metrics", {}).get("calibration") or ()
    rated = {row["stars"] for row in counted if row.get("rows")}
    return not rated or any(stars % 1 for stars in rated)


def table(query: LiteralString, name: str) -> sql.Composed:
    """Puts the schema-qualified name of a release's table into a statement."""
    return sql.SQL(query).format(sql.Identifier(*name.split(".")))
