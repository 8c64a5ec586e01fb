"""Measures how fast the reference site starts and responds at a steady rate.

``python -m tests.benchmarks.bench_site [FILE.json]`` prints a table and writes it as JSON. It uses
the stack in ``$RECSYS_HOME``, which must have a champion. If the variable is unset, it makes a
temporary stack with one release, of the real small dataset if that is available, else of a sample.

Requests are sent on schedule even if earlier ones are still open, and latency is measured from the
scheduled time, so that a slow response delays no later measurement (no coordinated omission).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil
import psycopg
import requests
from psycopg import sql

from recsys.embedded import site, stack
from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from tests.http_session import HttpSession

RATE: Final = 20
SECONDS: Final = 30
WORKERS: Final = 16
_DATASET: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "ml-latest-small.zip"


@dataclass(frozen=True)
class Row:
    """Latency of one kind of request, in milliseconds.

    Attributes:
        request: kind of request.
        requests: number of requests, sent at ``RATE`` per second.
        errors: number of responses with another status than 200.
        p50_ms: median.
        p99_ms: 99th percentile.
        max_ms: maximum.
        cpu_ms: CPU time of the site's process per request; less distorted by other load.
    """

    request: str
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms: float


Send = Callable[[HttpSession], requests.Response]


def measure(process: psutil.Process, url: str, request: str, ask: Send) -> Row:
    """Sends ``RATE`` requests per second for ``SECONDS``."""
    clients = threading.local()

    def send(due: float) -> tuple[float, int]:
        if not hasattr(clients, "one"):
            clients.one = HttpSession(url)
        status = ask(clients.one).status_code
        return (time.monotonic() - due) * 1000, status

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(send, [time.monotonic()] * WORKERS):
            pass  # Connections are opened before the measurement.
        before = sum(process.cpu_times()[:2])
        begin, sent = time.monotonic() + 0.1, []
        for number in range(RATE * SECONDS):
            due = begin + number / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            sent.append(pool.submit(send, due))
        answers = [future.result() for future in sent]
        used = sum(process.cpu_times()[:2]) - before
    taken = np.array([ms for ms, _ in answers])
    return Row(
        request=request,
        requests=len(answers),
        errors=sum(status != 200 for _, status in answers),
        p50_ms=round(float(np.percentile(taken, 50)), 1),
        p99_ms=round(float(np.percentile(taken, 99)), 1),
        max_ms=round(float(taken.max()), 1),
        cpu_ms=round(1000 * used / len(answers), 1),
    )


def rows(process: psutil.Process, url: str, users: list[int], movies: list[int]) -> Iterator[Row]:
    """Measures each kind of request with random ids."""
    draw = random.Random(1)  # noqa: S311 - it only chooses the requests

    def cold_start(client: HttpSession) -> requests.Response:
        rated = [{"movie_id": one, "stars": draw.randint(1, 5)} for one in draw.sample(movies, 8)]
        return client.post("/api/recommendations", json={"ratings": rated})

    kinds: dict[str, Send] = {
        "similar (API)": lambda c: c.get(f"/api/movies/{draw.choice(movies)}/similar"),
        "recommendations (API)": lambda c: c.get(
            f"/api/users/{draw.choice(users)}/recommendations"
        ),
        "recommendations from ratings (API)": cold_start,
        "a movie's page": lambda c: c.get(f"/movies/{draw.choice(movies)}"),
        "a user's page": lambda c: c.get(f"/users/{draw.choice(users)}"),
    }
    for request, ask in kinds.items():
        yield measure(process, url, request, ask)


def cold_start(home: Home) -> tuple[str, float]:
    """Starts the site and waits until it is ready; returns its address and the seconds."""
    site.stop(home)
    began = time.monotonic()
    url = site.start(home)
    if url is None:
        raise SystemExit("the site's environment is missing: make setup")
    with HttpSession(url) as session:
        while session.get("/readyz").status_code != 200:
            time.sleep(0.02)
    return url, time.monotonic() - began


@contextmanager
def stack_with_a_champion() -> Iterator[Home]:
    """Yields the stack of ``$RECSYS_HOME``, else a temporary one with a release."""
    if os.environ.get("RECSYS_HOME"):
        home = Home()
        with stack.data_services(home):
            yield home
        return
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as folder:
        home = Home(Path(folder))
        source = ["--source", str(_DATASET)] if _DATASET.exists() else []
        try:
            with stack.data_services(home):
                subprocess.run(
                    [str(Path(sys.executable).with_name("recsys")), "demo", *source],
                    env={**os.environ, "RECSYS_HOME": folder},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
                yield home
        finally:
            stack.stop(home)


def ids(home: Home, table: str, key: str) -> list[int]:
    """Returns all ids of a public table."""
    with psycopg.connect(Postgres(home).dsn()) as conn:
        query = sql.SQL("select {} from {} order by 1").format(
            sql.Identifier(key), sql.Identifier(table)
        )
        return [row[0] for row in conn.execute(query)]


def main() -> None:
    """Prints the table and, if a file is given, writes the figures to it."""
    with stack_with_a_champion() as home:
        users = ids(home, "user_towers", "userid")
        movies = ids(home, "movie_vectors", "movieid")
        url, seconds = cold_start(home)
        try:
            process = psutil.Process(site.status(home).pid)
            measured = list(rows(process, url, users, movies))
        finally:
            site.stop(home)
    print(f"cold start {seconds:.1f} s; {len(users)} users, {len(movies)} movies with vectors")
    print(f"{RATE} requests/s for {SECONDS} s each:")
    print("| request | requests | errors | p50 ms | p99 ms | max ms | CPU ms |")
    print("| --- " * 7 + "|")
    for r in measured:
        print(
            f"| {r.request} | {r.requests} | {r.errors} | {r.p50_ms} | {r.p99_ms} | {r.max_ms} "
            f"| {r.cpu_ms} |"
        )
    if len(sys.argv) > 1:
        document = {"cold_start_s": round(seconds, 2), "rows": [asdict(row) for row in measured]}
        Path(sys.argv[1]).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
