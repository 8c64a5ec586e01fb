"""All pairs of kinds of damage: ``python -m tests.chaos.pairs``, or ``make soak-pairs``.

`make test` checks each kind with two others. This checks every pair of kinds, in an order that the
seed gives, until all are done or the time is up. The exit code is 1 if one is not as it should be.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import sys
import tempfile
import time
from pathlib import Path

from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from tests import watchdog
from tests.chaos.damaged_world import Worlds, damaged_worlds, failure_of, kinds_of, tell


def run(worlds: Worlds, minutes: float, seed: int) -> list[str]:
    """Checks pairs until the time is up; prints each failure, and returns them."""
    rng = random.Random(seed)  # noqa: S311 - a seed, not a secret
    kinds = kinds_of(worlds)
    pairs = list(itertools.combinations(kinds, 2))
    rng.shuffle(pairs)
    deadline = time.monotonic() + 60 * minutes
    failures, done = [], 0
    worlds.endings.clear()
    for names in pairs:
        if time.monotonic() >= deadline:
            break
        harms = [rng.choice(kinds[name]) for name in rng.sample(names, 2)]
        failure = failure_of(worlds, *harms)
        done += 1
        if failure:
            failures.append(failure)
            print(failure, flush=True)
        if done % 25 == 0:
            print(f"{done} of {len(pairs)} pairs, {len(failures)} failures", flush=True)
    print(f"{done} of {len(pairs)} pairs of {len(kinds)} kinds, seed {seed}: {tell(worlds)}")
    print(f"{len(failures)} failures")
    return failures


def main() -> int:
    """Starts servers of its own, checks, and stops them."""
    parser = argparse.ArgumentParser(description="Checks all pairs of kinds of damage.")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    watchdog.start()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as folder:
        home = Home(Path(folder))
        postgres, s3 = Postgres(home), S3(home)
        try:
            with home.lock():
                postgres.start()
                s3.start()
            with damaged_worlds(postgres, s3) as worlds:
                failures = run(worlds, options.minutes, options.seed)
        finally:
            with home.lock():
                s3.stop()
                postgres.stop()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
