"""All that the site keeps of a release in memory: one immutable value, made in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, LiteralString

import numpy as np
from psycopg import sql

from recsys_site.catalog import Catalog
from recsys_site.cold_start import Audience
from recsys_site.model import StarModel
from release_reader import Connection, CurrentRelease, LiveRelease

_AUDIENCE: Final = 20_000
"""Users looked at for what all have in common: enough for 64 dimensions, quick at any size."""
_EXAMPLES: Final = 6
_USERS: Final = "select userid, vector::real[] from {} order by userid limit %s"
_RATED: Final = (
    "select movie, count(*) from (select seen from {} order by userid limit %s) users, "
    "unnest(seen) movie group by movie"
)


@dataclass(frozen=True)
class Bundle:
    """What goes with a release's tables.

    Attributes:
        stars: the Keras model.
        catalog: the movies of the dataset.
        audience: what newcomers are compared with.
        examples: ids of some users.
        load_seconds: how long it took to make, without the download of the model.
        loaded_at: when it was ready.
    """

    stars: StarModel
    catalog: Catalog
    audience: Audience
    examples: tuple[int, ...]
    load_seconds: float
    loaded_at: datetime


Live = LiveRelease[Bundle]


class BundleLoader:
    """Makes the bundle of a release: `release_reader.ReleaseReader` calls it.

    Args:
        connect: borrows a connection to the vector database.
        s3: a boto3 S3 client.
        bucket: of the releases.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Connection]], s3: Any, bucket: str
    ) -> None:
        self._connect = connect
        self._s3 = s3
        self._bucket = bucket

    def __call__(self, path: Path, release: CurrentRelease) -> Bundle:
        """Loads it.

        Args:
            path: the release's model, checked already.
            release: whose tables and titles to read.
        """
        began = time.monotonic()
        stars = StarModel(path)
        key = f"features/{release.dataset_md5}/movies.parquet"
        titles = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        with self._connect() as conn, conn.cursor(binary=True) as cur:
            users = cur.execute(table(_USERS, release.user_towers), (_AUDIENCE,)).fetchall()
            popularity = cur.execute(table(_RATED, release.user_towers), (_AUDIENCE,)).fetchall()
        if not users:
            raise LookupError(f"{release.user_towers} has no rows")
        ids = [user for user, _ in users]
        return Bundle(
            stars=stars,
            catalog=Catalog.from_parquet(titles, dict(popularity)),
            audience=Audience.of(np.array([vector for _, vector in users], np.float32)),
            examples=tuple(ids[:: max(1, len(ids) // _EXAMPLES)][:_EXAMPLES]),
            load_seconds=time.monotonic() - began,
            loaded_at=datetime.now(UTC),
        )


def table(query: LiteralString, name: str) -> sql.Composed:
    """Puts the name of a release's table, with its schema, into a statement."""
    return sql.SQL(query).format(sql.Identifier(*name.split(".")))
