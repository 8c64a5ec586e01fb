"""Bounds on parquet files that a trainer wrote, checked before they are read.

A file of some kilobytes can unpack to a billion equal rows, or to one row with a list of a billion
values. What the footer says is read first: number of rows, and types. It costs no memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import polars as pl

from recsys.errors import ArtifactError

MAX_COLUMNS: Final = 16
_WRITTEN_BY: Final = "the trainer must write what trainer/export.py writes"


def check_parquet(
    path: Path,
    *,
    max_rows: int,
    arrays: Mapping[str, int] | None = None,
    lists: Mapping[str, int] | None = None,
    rows: str = "rows",
    of: str = "the dataset",
) -> None:
    """Refuses a parquet file that is too large or too deep to be read.

    All columns are numbers, but for those that are named. Their elements are numbers: no column is
    nested deeper.

    Args:
        path: the file.
        max_rows: largest number of rows.
        arrays: columns whose rows have a fixed number of elements: the largest number.
        lists: columns of lists: the largest number of elements of all rows together.
        rows: what a row is, in the plural, for the error.
        of: what the number of rows is limited by, for the error.

    Raises:
        ArtifactError: it is not parquet, has too many rows, columns or elements, or is nested.
    """
    arrays, lists = arrays or {}, lists or {}
    try:
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        found = int(table.select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(
            f"{path.name} is not a parquet file", found=str(error)[:300], hint=_WRITTEN_BY
        ) from error
    if found > max_rows:
        raise ArtifactError(
            f"{path.name} has too many {rows}",
            found=f"{found} rows",
            expected=f"at most {max_rows}, the number of them in {of}",
            hint=_WRITTEN_BY,
        )
    if len(schema) > MAX_COLUMNS:
        raise ArtifactError(
            f"{path.name} has too many columns",
            found=len(schema),
            expected=f"at most {MAX_COLUMNS}",
            hint=_WRITTEN_BY,
        )
    for name, dtype in schema.items():
        if not _is_within(dtype, arrays.get(name), name in lists):
            raise ArtifactError(
                f"{path.name} has a column of an unexpected type",
                found=f"{name[:80]}: {str(dtype)[:80]}",
                expected=_expected(name, arrays, lists),
                hint=_WRITTEN_BY,
            )
    present = [name for name in lists if name in schema]
    if present:
        _check_elements(path, table, {name: lists[name] for name in present})


def _is_within(dtype: pl.DataType, width: int | None, is_list: bool) -> bool:
    if width is not None:
        return (
            isinstance(dtype, pl.Array)
            and len(dtype.shape) == 1
            and dtype.shape[0] <= width
            and dtype.inner.is_numeric()
        )
    if is_list:
        return isinstance(dtype, pl.List) and dtype.inner.is_numeric()
    return dtype.is_numeric()


def _expected(name: str, arrays: Mapping[str, int], lists: Collection[str]) -> str:
    if name in arrays:
        return f"arrays of at most {arrays[name]} numbers"
    return "lists of numbers" if name in lists else "numbers"


def _check_elements(path: Path, table: pl.LazyFrame, limits: Mapping[str, int]) -> None:
    """Counts the elements of lists; of the columns, only their lengths are kept."""
    try:
        counts = table.select(pl.col(*limits).list.len().cast(pl.Int64).sum()).collect(
            engine="streaming"
        )
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(
            f"{path.name} is not a parquet file", found=str(error)[:300], hint=_WRITTEN_BY
        ) from error
    for name, limit in limits.items():
        if counts[name][0] > limit:
            raise ArtifactError(
                f"{path.name} has too many elements in {name}",
                found=counts[name][0],
                expected=f"at most {limit}",
                hint=_WRITTEN_BY,
            )
