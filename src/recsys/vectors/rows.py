"""Rows of a table of vectors: checks, digest, and encoding for PostgreSQL's binary COPY.

Vectors are stored as ``halfvec``. Measured on 9,724 and 84,432 vectors of 128 components, it takes
two thirds of the space of ``vector`` for table and index and costs less than 0.001 of recall. Its
index serves parameters given as text, ``vector`` or ``halfvec``; an index on ``vector`` does not
serve a ``halfvec`` parameter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import NARROW, WIDE, IdBits, PublicTable
from recsys.errors import ArtifactError, VectorError
from recsys.evaluation import ID_TYPES, check_parquet

COLUMN_TYPE: Final = "halfvec"
_OIDS: Final[dict[IdBits, int]] = {NARROW: 23, WIDE: 20}
"""Of PostgreSQL's types integer and bigint."""
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END: Final = b"\xff\xff"
_ROWS_AT_ONCE: Final = 8192
_MAX_DIMENSION: Final = 4096


Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class VectorRows:
    """Checked rows that can be loaded into ``table``.

    Attributes:
        table: the public table.
        ids: int32, or int64 if the table has ids of type bigint, (n,), unique.
        vectors: float16 (n, dim), finite, none of length 0.
        lists: for each extra column, the concatenated lists of all rows, in the type of the ids,
            and the start of each row's list, int64 (n + 1,).
        digest: sha256 of all of the above, 64 hex digits.
    """

    table: PublicTable
    ids: Ids
    vectors: NDArray[np.float16]
    lists: tuple[tuple[Ids, NDArray[np.int64]], ...]
    digest: str

    @classmethod
    def check(
        cls,
        table: PublicTable,
        ids: NDArray[Any],
        vectors: NDArray[Any],
        extra: Mapping[str, Sequence[Any] | pl.Series] | None = None,
    ) -> VectorRows:
        """Checks rows and computes their digest.

        Args:
            table: the public table.
            ids: integers (n,).
            vectors: floats (n, dim).
            extra: n values for each extra column of the table.

        Raises:
            VectorError: a count, dimension or value is wrong.
        """
        ids = np.asarray(ids)
        _check_ids(table, ids)
        halves = _halves(table, ids, np.asarray(vectors))
        extra = extra or {}
        names = [name for name, _ in table.extra_columns]
        if sorted(extra) != sorted(names):
            raise VectorError(
                f"wrong extra columns for {table.name}", found=sorted(extra), expected=sorted(names)
            )
        lists = tuple(
            _flat_lists(table, name, sql_type, extra[name], len(ids))
            for name, sql_type in table.extra_columns
        )
        # Without the dimension, so that digests of stored tables stay valid; the shape implies it.
        # The same holds for the type of the ids, which most tables do not name.
        unnamed = {"dimension", "id_type"} if table.id_bits == NARROW else {"dimension"}
        described = table.model_dump(mode="json", exclude=unnamed)
        shape = {"table": described, "type": COLUMN_TYPE, "n": len(ids)}
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
        little = _dtype(table.id_bits, "<")
        arrays = [ids.astype(little), halves.astype("<f2")]
        for values, starts in lists:
            arrays += [values.astype(little), starts.astype("<i8")]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return cls(table, ids.astype(_dtype(table.id_bits)), halves, lists, digest.hexdigest())

    def outermost_first(self) -> VectorRows:
        """Returns the rows of a table without lists, those farthest from the mean vector first.

        That is the order for an HNSW index. A far row has few near ones. If it is inserted late,
        into a dense graph, their places for neighbors are taken by nearer rows, nothing may lead to
        it, and no search finds it, however wide (docs/adr/0004-movie-vectors.md). The first rows
        are linked to each other and are where searches begin.
        """
        mean = self.vectors.mean(axis=0, dtype=np.float32)
        order = np.argsort(self.vectors.astype(np.float32) @ mean, kind="stable")
        return replace(self, ids=self.ids[order], vectors=self.vectors[order])

    def copy_chunks(self) -> Iterator[bytes]:
        """Yields the rows as the input of ``COPY ... FROM STDIN (FORMAT BINARY)``.

        The format is that of PostgreSQL's manual (COPY, "Binary Format"); halfvec's is that of
        pgvector's halfvec_recv: dimension and a zero, int16 each, then the components. Whole
        blocks are encoded by NumPy: 0.01 s for 87,000 vectors of 128 components, where the
        `pgvector` package takes 0.4 s for the vectors alone, one Python object each. Lists of
        integers take a ninth of what psycopg's own encoding takes.
        """
        dim = self.vectors.shape[1]
        big = _dtype(self.table.id_bits, ">")
        fixed = np.dtype(
            [
                ("fields", ">i2"),
                ("id_size", ">i4"),
                ("id", big),
                ("vector_size", ">i4"),
                ("dim", ">i2"),
                ("zero", ">i2"),
                ("vector", ">f2", (dim,)),
            ]
        )
        yield _COPY_HEADER
        for start in range(0, len(self.ids), _ROWS_AT_ONCE):
            ids = self.ids[start : start + _ROWS_AT_ONCE]
            rows = np.zeros(len(ids), fixed)
            rows["fields"] = 2 + len(self.lists)
            rows["id_size"], rows["id"] = big.itemsize, ids
            rows["vector_size"], rows["dim"] = 4 + 2 * dim, dim
            rows["vector"] = self.vectors[start : start + _ROWS_AT_ONCE]
            if not self.lists:
                yield rows.tobytes()
                continue
            parts = []
            for offset, row in enumerate(rows):
                parts.append(row.tobytes())
                for values, starts in self.lists:
                    at = start + offset
                    parts.append(
                        _binary_list(values[starts[at] : starts[at + 1]], self.table.id_bits)
                    )
            yield b"".join(parts)
        yield _COPY_END


def digest_of_vectors(table: PublicTable, ids: NDArray[Any], vectors: NDArray[Any]) -> str:
    """Returns the digest that the ledger records when these rows are loaded; see `VectorRows`."""
    return VectorRows.check(table, ids, vectors).digest


def read_vectors(
    path: Path, *, max_rows: int | None = None, max_elements: int | None = None
) -> tuple[Ids, NDArray[np.float32], dict[str, pl.Series]]:
    """Reads a parquet file of vectors (format: ``contract.MOVIE_VECTORS_FILE``).

    Args:
        path: the file.
        max_rows: a file with more rows is refused before they are read: a small file can unpack to
            a billion equal rows. None: no limit, for files that the pipeline itself wrote.
        max_elements: with ``max_rows``: largest number of elements of the lists in ``seen``.

    Returns:
        ids int32 or int64 (n,), vectors float32 (n, dim), and all other columns by name.

    Raises:
        ArtifactError: the file does not have this format, or has too many rows.
    """
    if max_rows is not None:
        check_parquet(
            path,
            max_rows=max_rows,
            arrays={"vector": _MAX_DIMENSION},
            lists={} if max_elements is None else {"seen": max_elements},
            rows="vectors",
        )
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(
            f"{path.name} is not a parquet file of vectors", found=str(error), hint="train again"
        ) from error
    vector_type = frame.schema.get("vector")
    if (
        frame.schema.get("id") not in ID_TYPES.values()
        or not isinstance(vector_type, pl.Array)
        or vector_type.inner != pl.Float32
        or frame["id"].null_count()
        or frame["vector"].null_count()
    ):
        raise ArtifactError(
            f"{path.name} is not a parquet file of vectors",
            found=str(dict(frame.schema)),
            expected="columns id int32 or int64 and vector array[float32, dim], without nulls",
        )
    extra = {name: frame[name] for name in frame.columns if name not in ("id", "vector")}
    return frame["id"].to_numpy(), frame["vector"].to_numpy(), extra


def _check_ids(table: PublicTable, ids: NDArray[Any]) -> None:
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise VectorError(f"ids of {table.name} are not a list of integers", found=str(ids.dtype))
    if not len(ids):
        raise VectorError(f"there are no vectors for {table.name}", expected="at least one")
    limits = np.iinfo(_dtype(table.id_bits))
    if ids.min() < limits.min or ids.max() > limits.max:
        raise VectorError(
            f"ids of {table.name} are out of range",
            found=f"{ids.min()}..{ids.max()}",
            expected=f"ids of type {table.id_type}, as the build's features.id_bits says",
        )
    values, counts = np.unique(ids, return_counts=True)
    if counts.max() > 1:
        raise VectorError(
            f"ids of {table.name} are not unique", found=values[counts > 1][:5].tolist()
        )


def _halves(table: PublicTable, ids: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float16]:
    expected = (len(ids), table.dimension)
    if vectors.shape != expected or not np.issubdtype(vectors.dtype, np.floating):
        raise VectorError(
            f"vectors of {table.name} have a wrong shape",
            found=f"{vectors.dtype} {vectors.shape}",
            expected=f"floats {expected}",
            hint="the contract sets the dimension; changing it takes a migration",
        )
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    bad = ~np.isfinite(halves).all(axis=1)
    if bad.any():
        raise VectorError(
            f"vectors of {table.name} have NaN, infinite or too large components",
            found=f"{bad.sum()} vectors, for example of id {ids[bad][0]}",
            expected="finite numbers up to 65504",
        )
    zero = ~halves.any(axis=1)
    if zero.any():
        raise VectorError(
            f"vectors of {table.name} have length 0",
            found=f"{zero.sum()} vectors, for example of id {ids[zero][0]}",
        )
    return halves


def _flat_lists(
    table: PublicTable, name: str, sql_type: str, column: Sequence[Any] | pl.Series, n: int
) -> tuple[Ids, NDArray[np.int64]]:
    where = f"column {name} of {table.name}"
    if sql_type != f"{table.id_type}[]":
        raise VectorError(
            f"{where} cannot be loaded", found=sql_type, expected=f"{table.id_type}[]"
        )
    try:
        series = pl.Series(name, column).cast(pl.List(ID_TYPES[table.id_bits]))
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise VectorError(
            f"{where} is not a column of lists of integers",
            found=str(error),
            expected=f"list[int{table.id_bits}]",
        ) from error
    if len(series) != n or series.null_count():
        raise VectorError(
            f"{where} has a wrong number of lists",
            found=f"{len(series)}, {series.null_count()} of them null",
            expected=n,
        )
    lengths = series.list.len().to_numpy()
    values = series.filter(series.list.len() > 0).explode()
    if values.null_count():
        raise VectorError(f"{where} has nulls inside its lists")
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return values.to_numpy().astype(_dtype(table.id_bits), copy=False), starts


def _dtype(bits: IdBits, order: Literal["<", ">", "="] = "=") -> np.dtype[np.integer[Any]]:
    return np.dtype(f"{order}i{bits // 8}")


def _binary_list(values: Ids, bits: IdBits) -> bytes:
    """Encodes one field: its size, then an array in the format of array_recv."""
    if not len(values):
        return np.array([12, 0, 0, _OIDS[bits]], ">i4").tobytes()
    item = binary_item(bits)
    size = 20 + item.itemsize * len(values)
    head = np.array([size, 1, 0, _OIDS[bits], len(values), 1], ">i4")
    body = np.empty(len(values), item)
    body["size"], body["value"] = bits // 8, values
    return head.tobytes() + body.tobytes()


def binary_item(bits: IdBits) -> np.dtype[np.void]:
    """Returns how PostgreSQL's binary format has an item of an array of integer or bigint."""
    return np.dtype([("size", ">i4"), ("value", _dtype(bits, ">"))])
