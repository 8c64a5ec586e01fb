"""Compares ways to switch the public names to another release while clients read.

``python -m tests.benchmarks.bench_switching [FILE.json]`` starts its own PostgreSQL, prints a table
and writes it as JSON. docs/adr/0002-switching-by-schema-rename.md is based on the results.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.synchronize
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import errors

from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres

READERS: Final = 8
PROCESSES: Final = 2
SWITCHES: Final = 200
SWITCHES_UNDER_SLOW_READER: Final = 20
SLOW_READER_HOLDS_S: Final = 1.0
ROWS: Final = 2000
LOCK_TIMEOUT: Final = "50ms"
_PAUSE_S: Final = 0.03
_TABLES: Final = ("movie_vectors", "movie_towers")

# One statement reads both names; `release` shows whether all rows are of the same release.
_QUERY: Final = (
    "select v.release, t.release from (select id, release from movie_vectors order by vector <=> "
    "(select vector from movie_vectors where id = 1) limit 10) v join movie_towers t using (id)"
)


@dataclass(frozen=True)
class Row:
    """Cost of one mechanism.

    Attributes:
        mechanism: how the names are switched.
        slow_reader: whether one reader ran transactions of one second without a break.
        switches: number of switches.
        reads: number of reads by all readers.
        errors: number of failed reads.
        mixed: number of reads that returned rows of two releases.
        read_p99_ms: 99th percentile of the time of a read.
        stall_p99_ms: 99th percentile, over switches, of the longest read that overlapped a switch.
        stall_max_ms: the longest read that overlapped a switch.
        switch_p50_ms: median time of a switch, including waiting and retries.
        switch_max_ms: the longest time of a switch.
        tries: number of transactions that the switches took.
    """

    mechanism: str
    slow_reader: bool
    switches: int
    reads: int
    errors: int
    mixed: int
    read_p99_ms: float
    stall_p99_ms: float
    stall_max_ms: float
    switch_p50_ms: float
    switch_max_ms: float
    tries: int


Switch = Callable[[Any, str, str], None]
"""Switches the names from one release to another in the caller's transaction."""


def rename_schema(conn: Any, old: str, new: str) -> None:
    conn.execute(f"alter schema live rename to views_{old}")
    conn.execute(f"alter schema views_{new} rename to live")


def rename_tables(conn: Any, old: str, new: str) -> None:
    for table in _TABLES:
        conn.execute(f"alter table {table} rename to {table}_{old}")
        conn.execute(f"alter table {table}_{new} rename to {table}")


def replace_views(conn: Any, old: str, new: str) -> None:
    for table in _TABLES:
        conn.execute(f"create or replace view {table} as select * from store.{table}_{new}")


def prepare_schemas(conn: Any) -> None:
    for schema, release in (("live", "a"), ("views_b", "b")):
        conn.execute(f"create schema {schema}")
        for table in _TABLES:
            conn.execute(f"create view {schema}.{table} as select * from store.{table}_{release}")


def prepare_tables(conn: Any) -> None:
    for table in _TABLES:
        for release in "ab":
            conn.execute(f"alter table store.{table}_{release} set schema public")
        conn.execute(f"alter table {table}_a rename to {table}")


def prepare_views(conn: Any) -> None:
    replace_views(conn, "b", "a")


MECHANISMS: Final[dict[str, tuple[Callable[[Any], None], Switch | None]]] = {
    "no switch at all": (prepare_schemas, None),
    "rename the schema of views": (prepare_schemas, rename_schema),
    "rename the tables": (prepare_tables, rename_tables),
    "create or replace view": (prepare_views, replace_views),
}


def measure(server: Postgres, mechanism: str, *, slow_reader: bool) -> Row:
    """Measures one mechanism on a fresh database."""
    prepare, switch = MECHANISMS[mechanism]
    name = f"bench_{time.monotonic_ns()}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        admin.execute(f'alter database {name} set search_path = "$user", live, public')
    dsn = server.dsn(name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        _make_tables(conn)
        prepare(conn)
        conn.execute("analyze")
    count = SWITCHES_UNDER_SLOW_READER if slow_reader else SWITCHES
    with _readers(dsn) as answers, _slow_reader(dsn, slow_reader):
        time.sleep(1)
        windows, tries = _switches(dsn, switch, count)
    return _row(mechanism, slow_reader, windows, tries, answers)


def _make_tables(conn: Any) -> None:
    conn.execute("create extension vector schema public")
    conn.execute("create schema store")
    for release in "ab":
        for table in _TABLES:
            full = f"store.{table}_{release}"
            conn.execute(
                f"create table {full} as select id, '{release}' as release, "
                "(select array_agg(random() - 0.5) from generate_series(1, 128) where id > 0)"
                f"::halfvec(128) as vector from generate_series(1, {ROWS}) id"
            )
            conn.execute(f"alter table {full} add primary key (id)")
            conn.execute(f"create index on {full} using hnsw (vector halfvec_cosine_ops)")


def _switches(dsn: str, switch: Switch | None, count: int) -> tuple[list[tuple[float, float]], int]:
    windows, tries = [], 0
    old, new = "a", "b"
    with psycopg.connect(dsn, autocommit=True) as conn:
        for _ in range(count):
            time.sleep(_PAUSE_S)
            begin = time.monotonic()
            while switch is not None:
                tries += 1
                try:
                    with conn.transaction():
                        conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
                        switch(conn, old, new)
                    break
                except errors.LockNotAvailable:
                    time.sleep(0.02)
            windows.append((begin, time.monotonic()))
            old, new = new, old
    return windows, tries


@contextmanager
def _readers(dsn: str) -> Iterator[list[Any]]:
    """Runs readers during the block; afterwards the list has the results of each process."""
    context = multiprocessing.get_context("spawn")
    stop, queue = context.Event(), context.Queue()
    each = READERS // PROCESSES
    processes = [
        context.Process(target=_read_in_threads, args=(dsn, each, stop, queue))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        queue.get()
    answers: list[Any] = []
    yield answers
    stop.set()
    for _ in processes:
        answers += queue.get()
    for process in processes:
        process.join()


def _read_in_threads(
    dsn: str, count: int, stop: multiprocessing.synchronize.Event, queue: Any
) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=_read, args=(dsn, stop, found)) for _ in range(count)]
    for thread in threads:
        thread.start()
    queue.put("reading")
    for thread in threads:
        thread.join()
    queue.put(found)


def _read(dsn: str, stop: multiprocessing.synchronize.Event, found: list[Any]) -> None:
    reads, failed, mixed = [], 0, 0
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as conn:
        while not stop.is_set():
            start = time.monotonic()
            try:
                rows = conn.execute(_QUERY).fetchall()
                mixed += len({release for row in rows for release in row}) != 1
            except psycopg.Error:
                failed += 1
            reads.append((start, time.monotonic() - start))
            time.sleep(0.004)
    found.append((reads, failed, mixed))


@contextmanager
def _slow_reader(dsn: str, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    stop = threading.Event()

    def hold() -> None:
        with psycopg.connect(dsn) as conn:
            while not stop.wait(0.05):
                conn.execute(_QUERY)
                stop.wait(SLOW_READER_HOLDS_S)
                conn.commit()

    thread = threading.Thread(target=hold)
    thread.start()
    yield
    stop.set()
    thread.join()


def _row(
    mechanism: str,
    slow_reader: bool,
    windows: list[tuple[float, float]],
    tries: int,
    answers: list[Any],
) -> Row:
    reads = np.array([read for found, _, _ in answers for read in found])
    begin, taken = reads[:, 0], reads[:, 1]
    stalls = [
        float(np.max(taken[(begin < end) & (begin + taken > start)], initial=0.0)) * 1000
        for start, end in windows
    ]
    times = [(end - start) * 1000 for start, end in windows]
    return Row(
        mechanism=mechanism,
        slow_reader=slow_reader,
        switches=len(windows) if tries else 0,
        reads=len(reads),
        errors=sum(failed for _, failed, _ in answers),
        mixed=sum(mixed for _, _, mixed in answers),
        read_p99_ms=round(float(np.percentile(taken, 99)) * 1000, 1),
        stall_p99_ms=round(float(np.percentile(stalls, 99)), 1),
        stall_max_ms=round(max(stalls), 1),
        switch_p50_ms=round(float(np.percentile(times, 50)), 1),
        switch_max_ms=round(max(times), 1),
        tries=tries,
    )


def run() -> list[Row]:
    """Measures all mechanisms, with and without a slow reader."""
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as folder:
        home = Home(Path(folder))
        server = Postgres(home)
        with home.lock():
            server.start()
        try:
            return [
                measure(server, mechanism, slow_reader=slow_reader)
                for slow_reader in (False, True)
                for mechanism in MECHANISMS
            ]
        finally:
            with home.lock():
                server.stop()


def table(rows: list[Row]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| mechanism | slow reader | switches (tries) | reads | errors | mixed | read p99 "
        "| stall p99 | stall max | switch p50 | switch max |",
        "| --- " * 11 + "|",
    ]
    lines += [
        f"| {r.mechanism} | {'yes' if r.slow_reader else 'no'} | {r.switches} ({r.tries}) "
        f"| {r.reads} | {r.errors} | {r.mixed} | {r.read_p99_ms} | {r.stall_p99_ms} "
        f"| {r.stall_max_ms} | {r.switch_p50_ms} | {r.switch_max_ms} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the table and, if a file is given, writes the rows to it."""
    rows = run()
    print(table(rows))
    print("Times in milliseconds.")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
