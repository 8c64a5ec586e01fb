"""Compares libraries that find invalid rows in parsed ratings.

Each one runs in its own process; "found" is the number of invalid rows that it counted.
Run it in an environment with the libraries::

    uv run --isolated --with 'pandera[polars]' --with patito --with pointblank \
        python -m tests.benchmarks.bench_validation 1000000

``docs/adr/0005-validation-in-polars.md`` shows results.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

INVALID_EVERY: Final = 50
MAX_TIMESTAMP: Final = 4_102_444_800
MOVIES: Final = 87_585
RULES: Final = {
    "user_id_range": pl.col("userId") >= 1,
    "movie_id_range": pl.col("movieId") >= 1,
    "rating_range": pl.col("rating").is_between(0.5, 5.0) & ((pl.col("rating") * 2) % 1 == 0),
    "timestamp_range": pl.col("timestamp").is_between(0, MAX_TIMESTAMP, closed="left"),
}


def make_ratings(rows: int, path: Path) -> None:
    """Writes ratings; one in ``INVALID_EVERY`` violates exactly one rule."""
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "userId": np.sort(rng.integers(1, 200_000, rows, dtype=np.int32)),
            "movieId": rng.integers(1, MOVIES + 1, rows, dtype=np.int32),
            "rating": rng.integers(1, 11, rows) / 2,
            "timestamp": rng.integers(800_000_000, 1_700_000_000, rows),
        }
    )
    rule = pl.int_range(pl.len()) // INVALID_EVERY % 5
    is_invalid = pl.int_range(pl.len()) % INVALID_EVERY == 0

    def invalidate(column: str, number: int, value: float) -> pl.Expr:
        return (
            pl.when(is_invalid & (rule == number))
            .then(value)
            .otherwise(column)
            .cast(frame.schema[column])
            .alias(column)
        )

    frame.with_columns(
        invalidate("userId", 0, -3),
        # Two rules concern this column: the range of ids, and unknown movies.
        pl.when(is_invalid & (rule == 1))
        .then(-7)
        .when(is_invalid & (rule == 4))
        .then(MOVIES + 1)
        .otherwise("movieId")
        .cast(pl.Int32)
        .alias("movieId"),
        invalidate("rating", 2, 3.3),
        invalidate("timestamp", 3, -1),
    ).write_parquet(path)


def expressions(frame: pl.DataFrame, known: pl.Series) -> dict[str, int]:
    """The way of recsys: one predicate for all rules; only rows that fail it are examined again."""
    rules = {**RULES, "unknown_movie": pl.col("movieId").is_in(known.implode())}
    invalid = frame.with_row_index().filter(~pl.all_horizontal(rules.values()))
    named = invalid.with_columns(
        rule=pl.coalesce(pl.when(~rule).then(pl.lit(name)) for name, rule in rules.items())
    )
    return dict(named["rule"].value_counts().iter_rows())


def pandera(frame: pl.DataFrame, known: pl.Series) -> dict[str, int]:
    """pandera's polars backend with the same expressions as checks; collects all failures."""
    import pandera.polars as pa
    from pandera.errors import SchemaErrors

    def check(name: str, expression: pl.Expr) -> pa.Check:
        return pa.Check(lambda data: data.lazyframe.select(expression), name=name, error=name)

    column_of = {
        "userId": ["user_id_range"],
        "movieId": ["movie_id_range", "unknown_movie"],
        "rating": ["rating_range"],
        "timestamp": ["timestamp_range"],
    }
    rules = {**RULES, "unknown_movie": pl.col("movieId").is_in(known.implode())}
    schema = pa.DataFrameSchema(
        {
            column: pa.Column(
                frame.schema[column], [check(name, rules[name]) for name in names], nullable=False
            )
            for column, names in column_of.items()
        }
    )
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        first = cases.group_by("index").agg(pl.col("check").first())
        return dict(first["check"].value_counts().iter_rows())
    return {}


def patito(frame: pl.DataFrame, known: pl.Series) -> dict[str, int]:
    """patito with the same expressions as constraints; it counts rows but cannot list them."""
    import patito as pt

    class Ratings(pt.Model):
        userId: int = pt.Field(constraints=RULES["user_id_range"], dtype=pl.Int32)
        movieId: int = pt.Field(
            constraints=[
                RULES["movie_id_range"],
                (pl.col("movieId") < 1) | pl.col("movieId").is_in(known.implode()),
            ],
            dtype=pl.Int32,
        )
        rating: float = pt.Field(constraints=RULES["rating_range"])
        timestamp: int = pt.Field(constraints=RULES["timestamp_range"])

    try:
        Ratings.validate(frame)
    except pt.exceptions.DataFrameValidationError as error:
        return {str(e["loc"][0]): int(e["msg"].split()[0]) for e in error.errors()}
    return {}


def pointblank(frame: pl.DataFrame, known: pl.Series) -> dict[str, int]:
    """pointblank with the same expressions as steps."""
    import pointblank as pb

    rules = {
        **RULES,
        "unknown_movie": (pl.col("movieId") < 1) | pl.col("movieId").is_in(known.implode()),
    }
    steps = pb.Validate(frame)
    for rule in rules.values():
        steps = steps.col_vals_expr(expr=rule)
    done = steps.interrogate(collect_extracts=False)
    return dict(zip(rules, done.n_failed().values(), strict=True))


WAYS: Final[dict[str, Callable[[pl.DataFrame, pl.Series], dict[str, int]]]] = {
    way.__name__: way for way in (expressions, pandera, patito, pointblank)
}


def measure(way: str, path: str) -> None:
    """Runs one way in this process and prints its time and memory."""
    frame = pl.read_parquet(path)
    known = pl.Series(range(1, MOVIES + 1), dtype=pl.Int32)
    base, began = _resident_mb(), time.perf_counter()
    WAYS[way](frame.head(1000), known)
    first, first_mb = time.perf_counter() - began, _resident_mb() - base
    base, began, cpu = _resident_mb(), time.perf_counter(), time.process_time()
    with _Peak() as peak:
        found: dict[str, Any] = WAYS[way](frame, known)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"| {way} | {frame.height:,} | {wall:.2f} | {cpu:.2f} | {peak.mb - base:,.0f} | "
        f"{first:.2f} | {first_mb:.0f} | {sum(found.values()):,} |",
        flush=True,
    )


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class _Peak:
    """Peak resident memory of this process, sampled every 5 ms."""

    def __enter__(self) -> _Peak:
        self.mb = _resident_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.mb = max(self.mb, _resident_mb())


def main() -> None:
    """Measures all ways, or the one given as argument."""
    if len(sys.argv) > 2:
        measure(sys.argv[1], sys.argv[2])
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.parquet"
        make_ratings(rows, path)
        print("| way | rows | wall, s | CPU, s | peak, MB | import, s | import, MB | found |")
        for way in WAYS:
            command = [sys.executable, "-m", "tests.benchmarks.bench_validation", way, str(path)]
            subprocess.run(command, check=False, timeout=300)


if __name__ == "__main__":
    main()
