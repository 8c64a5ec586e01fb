"""Exchange of data between the driver and the executors of a job through the object store.

They need no shared file system and no Hadoop connector. Each process reads `S3Settings` from its
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
from recsys.object_store import ObjectStore, S3Settings, current_keys


class Exchange:
    """A job's own prefix below that of its features; a context manager that deletes it at the end.

    A job first deletes what killed jobs for the same features have left. If such a job is still
    running, it fails. So there is only one writer of features.

    Args:
        prefix: prefix of the features that the job makes.
        store: the object store of the driver.
    """

    def __init__(self, prefix: str, store: ObjectStore) -> None:
        self._store = store
        self._all = contract.spark_prefix(prefix)
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
        """Returns the key of a numbered object of a kind."""
        return f"{self._own}{kind}/{number:06}"


@functools.cache
def executor_store() -> ObjectStore:
    """Connects to the store that the environment names; once for each Python worker."""
    return ObjectStore.connect(S3Settings.from_environment())


def scan(key: str) -> pl.LazyFrame:
    """Scans a stored parquet file lazily: only required columns and row groups are read."""
    settings = S3Settings.from_environment()
    options: dict[str, Any] = {"aws_region": settings.region, "max_retries": settings.max_attempts}
    if settings.endpoint:
        options["aws_endpoint_url"] = settings.endpoint
        options["aws_allow_http"] = str(settings.endpoint.startswith("http://")).lower()
    if settings.verify is False:
        options["aws_allow_invalid_certificates"] = "true"
    # Polars looks for credentials in fewer places than boto3.
    options |= {name.lower(): value for name, value in current_keys(settings).items()}
    return pl.scan_parquet(
        f"s3://{settings.bucket}/{settings.prefix}{key}", storage_options=options
    )


def pack(frame: pl.DataFrame) -> bytes:
    """Serializes a frame into one opaque value for Spark, instead of single rows."""
    out = io.BytesIO()
    frame.write_ipc(out, compression="lz4")
    return out.getvalue()


def unpack(packed: bytes) -> pl.DataFrame:
    """Deserializes a packed frame."""
    return pl.read_ipc(packed)


def count_by(frame: pl.DataFrame, column: str) -> bytes:
    """Counts rows by the values of a column; returns the column and ``len``, packed."""
    return pack(frame.group_by(column).len())


def add_counts(one: bytes, other: bytes) -> bytes:
    """Adds two results of `count_by` for the same column."""
    counts = pl.concat([unpack(one), unpack(other)])
    return pack(counts.group_by(counts.columns[0]).agg(pl.col("len").sum()))
