from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.contract import FeatureSettings
from recsys.features import resolve_duplicates
from recsys.features.interactions import RowSpool, write_interactions
from recsys.features.validation import RATING_SCHEMA

Row = tuple[int, int, float, int]
rows_strategy = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.integers(1, 12),
        st.integers(1, 10).map(lambda half_stars: half_stars / 2),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=60,
)


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        [(*row, line) for line, row in enumerate(rows, 2)], schema=RATING_SCHEMA, orient="row"
    )


@given(rows_strategy)
def test_the_latest_duplicate_by_time_then_line_is_kept(rows: list[Row]) -> None:
    table = frame(rows)
    winners: dict[tuple[int, int], tuple[int, int]] = {}
    for user, movie, _, time, line in table.iter_rows():
        winners[user, movie] = max(winners.get((user, movie), (-1, -1)), (time, line))
    latest, replaced = resolve_duplicates(table.sample(fraction=1, shuffle=True, seed=1))
    assert sorted(latest["line"]) == sorted(line for _, line in winners.values())
    assert latest.height + replaced.height == table.height
    assert set(replaced["line"]).isdisjoint(latest["line"])


def write(folder: Path, parts: list[pl.DataFrame]) -> bytes:
    spool_folder = folder / "spool"
    spool_folder.mkdir(parents=True)
    spool = RowSpool(spool_folder)
    for part in parts:
        spool.add(part)
    path = folder / "interactions.parquet"
    seen: list[pl.DataFrame] = []
    settings = FeatureSettings(holdout_share=0.2)
    write_interactions(
        spool, path, settings, on_rows=seen.append, on_duplicates=lambda replaced: None
    )
    assert pl.concat(seen).equals(pl.read_parquet(path))
    return path.read_bytes()


def test_any_order_of_the_rows_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "userId": [1 + i // 40 for i in range(4000)],
            "movieId": [1 + i * 7 % 40 for i in range(4000)],
            "rating": [0.5 + i % 10 / 2 for i in range(4000)],
            "timestamp": [i * 7919 % 1000 for i in range(4000)],
            "line": range(2, 4002),
        },
        schema=RATING_SCHEMA,
    )
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    whole = write(tmp_path / "a", [rows])
    in_parts = write(tmp_path / "b", [shuffled[i : i + 300] for i in range(0, 4000, 300)])
    assert whole == in_parts


def test_the_spool_returns_ranges_with_all_rows_of_their_users(tmp_path: Path) -> None:
    spool = RowSpool(tmp_path)
    table = frame([(1 + i % 50, 1 + i // 50, 3.0, i) for i in range(1000)])
    for start in range(0, 1000, 90):
        spool.add(table[start : start + 90])
    parts = list(spool.by_users(range_rows=100))
    assert len(parts) > 5
    assert sum(part.height for part in parts) == spool.rows == 1000
    users = [set(part["userId"]) for part in parts]
    for before, after in pairwise(users):
        assert max(before) < min(after)
