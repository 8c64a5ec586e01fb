"""What the driver and the executors of a job hand to each other through the object store.

They need no file system in common, and no connector of Hadoop's: each reads `S3Settings` from its
own environment.
"""

from __future__ import annotations

import functools
import io
import uuid
from types import TracebackType
from typing import Any, Self

import polars as pl

from recsys import contract
from recsys.object_store import ObjectStore, S3Settings


class Exchange:
    """A job's own corner of ``features/<md5>/``, emptied when the job ends; a context manager.

    What a killed job left is removed by the next one for the same dataset, which thereby fails
    one that was only thought dead: there is one writer of features.

    Args:
        md5: the dataset.
        store: the driver's.
    """

    def __init__(self, md5: str, store: ObjectStore) -> None:
        self._store = store
        self._all = contract.spark_prefix(md5)
        self._own = f"{self._all}{uuid.uuid4().hex}/"

    def __enter__(self) -> Self:
        self._store.delete(self._store.keys(self._all))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store.delete(self._store.keys(self._own))

    def key(self, kind: str, number: int) -> str:
        """Key of the object of some kind with a number."""
        return f"{self._own}{kind}/{number:06}"


@functools.cache
def executor_store() -> ObjectStore:
    """The store as the environment of this process names it; one for each Python worker."""
    return ObjectStore.connect(S3Settings.from_environment())


def scan(key: str) -> pl.LazyFrame:
    """A stored parquet of which only the columns and row groups that are asked for are read."""
    settings = S3Settings.from_environment()
    options: dict[str, Any] = {"aws_region": settings.region, "max_retries": settings.max_attempts}
    if settings.endpoint:
        options["aws_endpoint_url"] = settings.endpoint
        options["aws_allow_http"] = str(settings.endpoint.startswith("http://")).lower()
    if settings.access_key and settings.secret_key:
        options["aws_access_key_id"] = settings.access_key.get_secret_value()
        options["aws_secret_access_key"] = settings.secret_key.get_secret_value()
    return pl.scan_parquet(f"s3://{settings.bucket}/{key}", storage_options=options)


def pack(frame: pl.DataFrame) -> bytes:
    """A frame as Spark carries it: one opaque value, not a row at a time."""
    out = io.BytesIO()
    frame.write_ipc(out, compression="lz4")
    return out.getvalue()


def unpack(packed: bytes) -> pl.DataFrame:
    """The frame that was packed."""
    return pl.read_ipc(packed)


def count_by(frame: pl.DataFrame, column: str) -> bytes:
    """Rows by the values of a column, packed: the column and ``len``."""
    return pack(frame.group_by(column).len())


def add_counts(one: bytes, other: bytes) -> bytes:
    """The sum of two results of `count_by` for the same column."""
    counts = pl.concat([unpack(one), unpack(other)])
    return pack(counts.group_by(counts.columns[0]).agg(pl.col("len").sum()))
