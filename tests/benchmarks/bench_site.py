"""Measures how fast the reference site starts, and responds at steady rates and through changes.

``python -m tests.benchmarks.bench_site [FILE.json]`` prints two tables and writes them as JSON:
each kind of request alone, then all kinds mixed: at rising rates, through a change to a release
that the site has not loaded (as at a promotion), through a rollback to the release before, and
through a database that is down for 8 seconds. It uses the stack in ``$RECSYS_HOME``, which must
have a champion. If the variable is unset, it makes a temporary stack, with a release of the real
small dataset if that is available, else of a sample. A second release is trained if there is none.

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
RATES: Final = (20, 50, 100)
SECONDS: Final = 15
CHANGE_SECONDS: Final = 40
"""Through a change, which begins after a quarter of it."""
DOWN_SECONDS: Final = 8
WORKERS: Final = 64
_QUICK: Final = '{"trainer": {"overrides": {"rating": {"epochs": 1}, "ranking": {"epochs": 1}}}}'
_DATASET: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "ml-latest-small.zip"


@dataclass(frozen=True)
class Row:
    """Latency of requests, in milliseconds.

    Attributes:
        request: kind of request, or what happened meanwhile.
        rate: requests sent per second.
        requests: number of requests.
        errors: number of responses with another status than 200.
        p50_ms: median of the others.
        p99_ms: their 99th percentile.
        max_ms: their maximum.
        cpu_ms: CPU time of the site's process per request; less distorted by other load.
        change_s: seconds from the begin of a change until the site serves the other release, or
            serves again; None without a change.
    """

    request: str
    rate: int
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms: float
    change_s: float | None = None


Send = Callable[[HttpSession], requests.Response]
Change = Callable[[], float]
"""Makes a change; returns the seconds until the site has followed it."""


def measure(
    process: psutil.Process,
    url: str,
    request: str,
    ask: Send,
    *,
    rate: int = RATE,
    seconds: float = SECONDS,
    change: Change | None = None,
) -> Row:
    """Sends ``rate`` requests per second, and makes a change after a quarter of the time."""
    clients = threading.local()

    def send(due: float) -> tuple[float, int]:
        if not hasattr(clients, "one"):
            clients.one = HttpSession(url)
        try:
            status = ask(clients.one).status_code
        except requests.RequestException:
            status = 0
        return (time.monotonic() - due) * 1000, status

    with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(1) as other:
        for _ in pool.map(send, [time.monotonic()] * WORKERS):
            pass  # Connections are opened before the measurement.
        before = sum(process.cpu_times()[:2])
        count = int(rate * seconds)
        begin, sent = time.monotonic() + 0.1, []
        followed = None
        for number in range(count):
            due = begin + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            sent.append(pool.submit(send, due))
            if change is not None and number == count // 4:
                followed = other.submit(change)
        answers = [future.result() for future in sent]
        used = sum(process.cpu_times()[:2]) - before
        change_s = None if followed is None else round(followed.result(), 1)
    taken = np.array([ms for ms, status in answers if status == 200] or [np.nan])
    return Row(
        request=request,
        rate=rate,
        requests=len(answers),
        errors=sum(status != 200 for _, status in answers),
        p50_ms=round(float(np.percentile(taken, 50)), 1),
        p99_ms=round(float(np.percentile(taken, 99)), 1),
        max_ms=round(float(taken.max()), 1),
        cpu_ms=round(1000 * used / len(answers), 1),
        change_s=change_s,
    )


def kinds_of_request(users: list[int], movies: list[int]) -> dict[str, Send]:
    """Returns requests with random ids, by kind."""
    draw = random.Random(1)  # noqa: S311 - it only chooses the requests

    def cold_start(client: HttpSession) -> requests.Response:
        rated = [{"movie_id": one, "stars": draw.randint(1, 5)} for one in draw.sample(movies, 8)]
        return client.post("/api/recommendations", json={"ratings": rated})

    return {
        "similar (API)": lambda c: c.get(f"/api/movies/{draw.choice(movies)}/similar"),
        "recommendations (API)": lambda c: c.get(
            f"/api/users/{draw.choice(users)}/recommendations"
        ),
        "recommendations from ratings (API)": cold_start,
        "a movie's page": lambda c: c.get(f"/movies/{draw.choice(movies)}"),
        "a user's page": lambda c: c.get(f"/users/{draw.choice(users)}"),
    }


def under_load(
    home: Home, process: psutil.Process, url: str, kinds: dict[str, Send], other: str
) -> Iterator[Row]:
    """Measures all kinds of requests mixed: at rising rates, then through changes.

    Args:
        home: the stack.
        process: the site.
        url: its address.
        kinds: the requests.
        other: a release that the site has not loaded and that can become the champion.
    """
    draw = random.Random(2)  # noqa: S311 - it only chooses the requests
    choices = list(kinds.values())

    def mixed(client: HttpSession) -> requests.Response:
        return draw.choice(choices)(client)

    for rate in RATES:
        yield measure(process, url, "mixed", mixed, rate=rate)
    champion = ready(url)["release_id"]
    changes: dict[str, Change] = {
        "a release that was not loaded": lambda: switch(home, url, other),
        "rollback to the release before": lambda: switch(home, url, champion),
        f"database down for {DOWN_SECONDS} s": lambda: restart_database(home, url),
    }
    for name, change in changes.items():
        yield measure(process, url, name, mixed, seconds=CHANGE_SECONDS, change=change)


def ready(url: str) -> dict[str, str]:
    """Returns what the site says of itself."""
    with HttpSession(url) as session:
        found: dict[str, str] = session.get("/readyz").json()
        return found


def recsys(home: Home, *arguments: str, **variables: str) -> str:
    """Runs a command on the stack; returns its standard output."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("recsys")), *arguments],
        env={**os.environ, "RECSYS_HOME": str(home.path), "RECSYS_ACTOR": "benchmark", **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def switch(home: Home, url: str, release_id: str) -> float:
    """Makes a release the champion; returns the seconds from the commit until the site serves it.

    A site cannot tell a rollback from a promotion: what counts is whether it has the release.
    """
    recsys(home, "rollback", "--to", release_id, "--reason", "benchmark", "--yes", "--json")
    began = time.monotonic()
    while ready(url).get("release_id") != release_id:
        time.sleep(0.05)
    return time.monotonic() - began


def restart_database(home: Home, url: str) -> float:
    """Kills the database and starts it again; returns the seconds until the site is ready."""
    postgres = Postgres(home)
    began = time.monotonic()
    with home.lock():
        postgres.stop()
        time.sleep(DOWN_SECONDS)
        postgres.start()
    while ready(url)["status"] != "ready":
        time.sleep(0.05)
    return time.monotonic() - began


def earlier_release(home: Home) -> str:
    """Returns a release that `recsys rollback` accepts; trains another one if there is none."""
    found = json.loads(recsys(home, "status", "--json"))["previous_champion"]
    if found is None:
        first: str = json.loads(recsys(home, "status", "--json"))["champion"]["release_id"]
        # Its quality does not matter here, so that it is trained quickly and needs no acceptance.
        recsys(home, "run", "--json", RECSYS_BUILD_SETTINGS=_QUICK)
        newest = json.loads(recsys(home, "releases", "--json"))[0]["release_id"]
        if json.loads(recsys(home, "status", "--json"))["champion"]["release_id"] == first:
            override = ("--override", "--reason", "benchmark", "--yes", "--json")
            recsys(home, "promote", newest, *override)
        return first
    release_id: str = found["release_id"]
    return release_id


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
                recsys(home, "demo", *source)
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


def print_table(measured: list[Row]) -> None:
    """Prints a table in Markdown."""
    columns = ("request", "requests/s", "requests", "errors", "p50 ms", "p99 ms", "max ms")
    print("| " + " | ".join((*columns, "CPU ms", "followed after s")) + " |")
    print("| --- " * (len(columns) + 2) + "|")
    for r in measured:
        followed = "" if r.change_s is None else r.change_s
        print(
            f"| {r.request} | {r.rate} | {r.requests} | {r.errors} | {r.p50_ms} | {r.p99_ms} "
            f"| {r.max_ms} | {r.cpu_ms} | {followed} |"
        )


def main() -> None:
    """Prints the tables and, if a file is given, writes the figures to it."""
    with stack_with_a_champion() as home:
        other = earlier_release(home)
        users = ids(home, "user_towers", "userid")
        movies = ids(home, "movie_vectors", "movieid")
        kinds = kinds_of_request(users, movies)
        url, seconds = cold_start(home)
        try:
            process = psutil.Process(site.status(home).pid)
            alone = [measure(process, url, request, ask) for request, ask in kinds.items()]
            loaded = list(under_load(home, process, url, kinds, other))
        finally:
            site.stop(home)
    load = os.getloadavg()[0]
    print(f"cold start {seconds:.1f} s; {len(users)} users, {len(movies)} movies with vectors")
    print(f"{os.cpu_count()} cores, load average {load:.1f} at the end")
    print_table(alone)
    print_table(loaded)
    if len(sys.argv) > 1:
        document = {
            "cold_start_s": round(seconds, 2),
            "load_average": load,
            "rows": [asdict(row) for row in alone],
            "under_load": [asdict(row) for row in loaded],
        }
        Path(sys.argv[1]).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
