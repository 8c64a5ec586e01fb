"""How much two files of a release differ, in the numbers that they hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from recsys import contract

_VARIES: Final[dict[str, re.Pattern[str]]] = {
    # Of each epoch.
    contract.HISTORY_FILE: re.compile(r".*\.seconds"),
    # The comparison with the champion of that time, which is not made again. A slice may have the
    # same name: it is the name of a genre.
    contract.METRICS_FILE: re.compile(
        r"(?!(.*\.)?slices\.[^.]+\.champion$)(.*\.)?([^.]* [-/] )?champion"
    ),
}
"""Paths of the fields that differ between two trainings of one build, by file."""


@dataclass(frozen=True)
class Difference:
    """What differs between a recorded file and the one that was made again.

    Attributes:
        largest: largest difference of two numbers; 0 if the files are equal, None if they cannot be
            compared number by number.
        detail: for people.
    """

    largest: float | None
    detail: str

    @property
    def is_none(self) -> bool:
        """Whether the files are equal."""
        return self.largest == 0


def compare_files(recorded: Path, made: Path) -> Difference:
    """Compares two files whose bytes differ, by the suffix of ``made``.

    JSON is compared without the fields that differ in any two trainings; parquet by columns; of
    anything else, nothing but that its bytes differ can be said.
    """
    if made.suffix == ".json":
        varies = _VARIES.get(made.name)
        one, other = (
            dict(_leaves(json.loads(path.read_bytes()), varies)) for path in (recorded, made)
        )
        return _compare_values(one, other)
    if made.suffix == ".parquet":
        return _compare_frames(pl.read_parquet(recorded), pl.read_parquet(made))
    return Difference(None, "other bytes")


def _leaves(
    value: Any, varies: re.Pattern[str] | None, path: str = ""
) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            inner = f"{path}.{name}" if path else name
            if varies is None or not varies.fullmatch(inner):
                yield from _leaves(item, varies, inner)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, varies, f"{path}[{number}]")
    else:
        yield path, value


def _compare_values(one: dict[str, Any], other: dict[str, Any]) -> Difference:
    if one.keys() != other.keys():
        names = ", ".join(sorted(one.keys() ^ other.keys())[:3])
        return Difference(None, f"other fields: {names}")
    largest, where = 0.0, ""
    for name, value in one.items():
        if value == other[name]:
            continue
        if not (_is_number(value) and _is_number(other[name])):
            return Difference(None, f"{name}: {value!r}, now {other[name]!r}"[:200])
        apart = abs(value - other[name])
        if math.isnan(apart):
            return Difference(None, f"{name} is no number")
        if apart > largest:
            largest, where = apart, name
    return Difference(largest, f"{where} by {largest:.2g}" if where else "equal, but for times")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare_frames(one: pl.DataFrame, other: pl.DataFrame) -> Difference:
    if one.schema != other.schema or one.height != other.height:
        return Difference(None, f"{one.height:,} rows, now {other.height:,}, or other columns")
    largest, where = 0.0, ""
    for name in one.columns:
        before, after = one[name], other[name]
        if before.equals(after, null_equal=True):
            continue
        have_places = _same_places(before, after)
        while have_places and isinstance(before.dtype, pl.List | pl.Array):
            before, after = before.explode(), after.explode()
            have_places = _same_places(before, after)
        if not have_places or not before.dtype.is_float():
            return Difference(None, f"other values of {name}")
        apart = (before.cast(pl.Float64) - after.cast(pl.Float64)).abs().max()
        if not isinstance(apart, float) or math.isnan(apart):
            return Difference(None, f"other values of {name}")
        if apart > largest:
            largest, where = apart, name
    return Difference(largest, f"{where} by {largest:.2g}" if where else "equal, other bytes")


def _same_places(before: pl.Series, after: pl.Series) -> bool:
    """Whether both have values, and lists of equal lengths, at the same places."""
    if len(before) != len(after) or not before.is_null().equals(after.is_null()):
        return False
    if not isinstance(before.dtype, pl.List):
        return True
    return before.list.len().equals(after.list.len(), null_equal=True)
