"""Parquet files that a trainer wrote are refused by their footer before they are read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys.errors import ArtifactError
from recsys.evaluation import check_parquet

GOOD = pl.DataFrame(
    {"id": [1, 2], "vector": [[1.0, 2.0], [3.0, 4.0]], "seen": [[7], [8, 9]]},
    schema={"id": pl.Int32, "vector": pl.Array(pl.Float32, 2), "seen": pl.List(pl.Int32)},
)


def check(frame: pl.DataFrame, folder: Path) -> None:
    path = folder / "towers.parquet"
    frame.write_parquet(path)
    check_parquet(path, max_rows=2, arrays={"vector": 2}, lists={"seen": 3}, rows="vectors")


def test_a_file_within_its_bounds_is_accepted(tmp_path: Path) -> None:
    check(GOOD, tmp_path)
    check(GOOD.head(0), tmp_path)
    check(GOOD.drop("seen"), tmp_path)


REFUSED = {
    "a row more": (pl.concat([GOOD, GOOD.head(1)]), "has too many vectors"),
    "an element more": (
        GOOD.with_columns(seen=pl.col("seen").list.concat([5])),
        "too many elements in seen",
    ),
    "a longer vector": (
        GOOD.with_columns(vector=pl.Series([[1.0] * 3] * 2, dtype=pl.Array(pl.Float32, 3))),
        "vector: Array.*expected: arrays of at most 2 numbers",
    ),
    "a list for a vector": (
        GOOD.with_columns(vector=pl.col("vector").arr.to_list()),
        "unexpected type",
    ),
    "a deeper list": (
        GOOD.with_columns(seen=pl.Series([[[7]], [[8]]])),
        "seen: List.List.*expected: lists of numbers",
    ),
    "a struct": (GOOD.with_columns(id=pl.struct("id")), "id: Struct"),
    "texts": (GOOD.with_columns(note=pl.lit("x" * 1000)), "note: String"),
    "many columns": (
        GOOD.with_columns(pl.lit(1).alias(f"more{n}") for n in range(14)),
        "too many columns",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_out_of_its_bounds_is_refused(tmp_path: Path, what: str) -> None:
    frame, reason = REFUSED[what]
    with pytest.raises(ArtifactError, match=reason):
        check(frame, tmp_path)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"):
        path = tmp_path / "towers.parquet"
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="not a parquet file"):
            check_parquet(path, max_rows=1)
