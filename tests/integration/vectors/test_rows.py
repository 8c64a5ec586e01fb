"""Reading vectors from parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.contract import TOWER_DIM
from recsys.errors import (
    ArtifactError,
)
from recsys.vectors import (
    read_vectors,
)
from tests.vector_tables import (
    unit_vectors,
)


class TestReading:
    def test_a_parquet_file_of_towers_is_read_as_written(self, tmp_path: Path) -> None:
        vectors = unit_vectors(3, TOWER_DIM)
        frame = pl.DataFrame(
            {
                "id": pl.Series([3, 1, 2], dtype=pl.Int32),
                "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, TOWER_DIM)),
                "seen": pl.Series([[1], [], [2, 3]], dtype=pl.List(pl.Int32)),
            }
        )
        frame.write_parquet(tmp_path / "user_towers.parquet")

        ids, read, extra = read_vectors(tmp_path / "user_towers.parquet")

        assert ids.tolist() == [3, 1, 2]
        np.testing.assert_array_equal(read, vectors, strict=True)
        assert extra["seen"].to_list() == [[1], [], [2, 3]]

    @pytest.mark.parametrize(
        "frame",
        [
            pl.DataFrame({"id": [1]}),
            pl.DataFrame({"id": pl.Series([1], dtype=pl.Int32), "vector": [[0.5, 0.5]]}),
            pl.DataFrame(
                {"id": [1], "vector": pl.Series([[1.0]], dtype=pl.Array(pl.Float32, 1))},
                schema_overrides={"id": pl.UInt64},
            ),
            pl.DataFrame(
                {
                    "id": pl.Series([None], dtype=pl.Int32),
                    "vector": pl.Series([[1.0]], dtype=pl.Array(pl.Float32, 1)),
                }
            ),
        ],
    )
    def test_a_parquet_file_with_other_columns_is_refused(
        self, tmp_path: Path, frame: pl.DataFrame
    ) -> None:
        frame.write_parquet(tmp_path / "x.parquet")
        with pytest.raises(ArtifactError, match="not a parquet file of vectors"):
            read_vectors(tmp_path / "x.parquet")

    def test_a_file_of_another_format_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"no parquet")
        with pytest.raises(ArtifactError, match="not a parquet file of vectors"):
            read_vectors(tmp_path / "x.parquet")

    def test_a_file_with_more_rows_than_the_dataset_has_is_refused_before_it_is_read(
        self, tmp_path: Path
    ) -> None:
        """Equal rows compress to almost nothing."""
        rows = pl.DataFrame({"id": pl.repeat(1, 200_000, dtype=pl.Int32, eager=True)})
        rows.write_parquet(tmp_path / "x.parquet")
        assert (tmp_path / "x.parquet").stat().st_size < 10_000
        with pytest.raises(ArtifactError, match="too many vectors"):
            read_vectors(tmp_path / "x.parquet", max_rows=199_999)
