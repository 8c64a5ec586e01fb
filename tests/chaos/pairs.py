"""All pairs of kinds of damage: ``python -m tests.chaos.pairs``, or ``make soak-pairs``.

`make test` checks each kind with two others. This checks every pair of kinds, in an order that the
seed gives, until all are done or the time is up. ``--part 3/20`` checks a twentieth of them, so
that the work can be divided and resumed; ``--kind`` checks the pairs of one kind or, given twice,
one pair. The damages that stand for a pair depend on the seed alone. The exit code is 1 if a pair
is not as it should be.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from recsys.embedded.home import Home
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3
from tests import watchdog
from tests.chaos.damaged_world import Worlds, damaged_worlds, failure_of, kinds_of, tell


@dataclass(frozen=True)
class Selection:
    """Which pairs are checked.

    Attributes:
        seed: gives the order of the pairs, and the damages that stand for each.
        part: number of the part, from 1.
        parts: number of parts.
        kinds: kinds that a pair must contain; all pairs if it is empty.
    """

    seed: int
    part: int = 1
    parts: int = 1
    kinds: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"seed {self.seed}, part {self.part}/{self.parts}"

    def of(self, kinds: Iterable[str]) -> list[tuple[str, str]]:
        """Returns the pairs of this selection, in their order."""
        pairs = list(itertools.combinations(kinds, 2))
        random.Random(self.seed).shuffle(pairs)  # noqa: S311 - a seed, not a secret
        return [pair for pair in pairs[self.part - 1 :: self.parts] if self.kinds <= {*pair}]


def run(worlds: Worlds, minutes: float, selection: Selection) -> list[str]:
    """Checks pairs until the time is up; prints each failure, and returns them."""
    kinds = kinds_of(worlds)
    pairs = selection.of(kinds)
    if not pairs:
        raise SystemExit(f"there is no such pair; the kinds are {', '.join(kinds)}")
    deadline = time.monotonic() + 60 * minutes
    failures, done = [], 0
    worlds.endings.clear()
    for names in pairs:
        if time.monotonic() >= deadline:
            break
        rng = random.Random(f"{selection.seed}: {names}")  # noqa: S311 - a seed, not a secret
        harms = [rng.choice(kinds[name]) for name in rng.sample(names, 2)]
        failure = failure_of(worlds, *harms)
        done += 1
        if failure:
            failures.append(failure)
            print(failure, flush=True)
        if done % 25 == 0:
            print(f"{done} of {len(pairs)} pairs, {len(failures)} failures", flush=True)
    print(f"{done} of {len(pairs)} pairs of {len(kinds)} kinds, {selection}: {tell(worlds)}")
    print(f"{len(failures)} failures", flush=True)
    return failures


def part_of(text: str) -> tuple[int, int]:
    """Reads a part and the number of parts, as in ``3/20``.

    Raises:
        ValueError: it is not of this form, or there is no such part.
    """
    part, parts = map(int, text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError(text)
    return part, parts


def main() -> int:
    """Starts servers of its own, checks, and stops them."""
    parser = argparse.ArgumentParser(description="Checks all pairs of kinds of damage.")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", type=part_of, default=(1, 1), help="for example 3/20")
    parser.add_argument("--kind", action="append", default=[], help="repeat it for one pair")
    options = parser.parse_args()
    selection = Selection(options.seed, *options.part, frozenset(options.kind))
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
                failures = run(worlds, options.minutes, selection)
        finally:
            with home.lock():
                s3.stop()
                postgres.stop()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
