"""Readers through promotions, rollbacks and crashes: no error, no missing table, no mixed pair."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from recsys.contract import PUBLIC_TABLES, table_name
from recsys.releases import recover_promotion
from tests.actors import an_actor
from tests.chaos import invariants
from tests.chaos.conftest import World
from tests.chaos.processes import ROOT, Child, server_settings

pytestmark = pytest.mark.slow
PROCESSES, READERS_EACH = 2, 4
RELEASES = (1, 2, 3)
LEAST_READS = 20_000
LEAST_SWITCHES = 50


@dataclass
class Reading:
    """What all readers found."""

    reads: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    slow: list[list[tuple[float, float]]] = field(default_factory=list)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def so_far(self) -> int:
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        return sum(int(process.stdout.readline()) for process in self.processes)

    def stall(self, begin: float, end: float) -> float:
        """Longest read that overlapped a stretch of time, in seconds; 0 if all were quick."""
        return max(
            (
                taken
                for s in self.slow
                for start, taken in s
                if start < end and start + taken > begin
            ),
            default=0.0,
        )


def owners(world: World) -> dict[str, str]:
    """To which release a vector or a model belongs, by its content."""
    known = {f"model {number}": world.id(number) for number in RELEASES}
    with world.services.connect() as conn:
        for number in RELEASES:
            for table in PUBLIC_TABLES:
                query = sql.SQL("select vector::text from recsys.{}").format(
                    sql.Identifier(table_name(table.name, world.id(number)))
                )
                known |= {text: world.id(number) for (text,) in conn.execute(query)}
    return known


@contextmanager
def reading(world: World) -> Iterator[Reading]:
    """Has the readers at work; what they found is there when the block has ended."""
    order = json.dumps(
        json.loads(server_settings(world.services))
        | {"owners": owners(world), "readers": READERS_EACH}
    )
    result = Reading()
    for _ in range(PROCESSES):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.readers"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        result.processes.append(process)
        process.stdin.write(order + "\n")
    result.so_far()
    yield result
    for process in result.processes:
        output, _ = process.communicate(timeout=60)
        report = json.loads(output)
        result.reads.update(report["reads"])
        result.errors += report["errors"]
        result.slow += report["slow"]


def test_readers_feel_nothing_of_switches_and_crashes(world: World, children: Any, figure: Any):
    world.MOVIES, world.USERS = 10, 4
    world.MODEL_REPEATS = 1 << 17  # 1 MiB, so that a model could be seen torn.
    for number in RELEASES:
        world.candidate(number)
    child: Child = children(world)
    assert child.run("promote", world.id(1)).error is None
    draw = random.Random(20)  # noqa: S311 - a seed, not a secret
    live, switches, disagreements, crashes = 1, [], [], 0
    with reading(world) as found:
        while found.so_far() < LEAST_READS or len(switches) < LEAST_SWITCHES:
            target = draw.choice([number for number in RELEASES if number != live])
            operation = draw.choice(["promote", "rollback"])
            doom = {"kill_step": draw.randint(4, 9)} if draw.random() < 0.25 else {}
            ending = child.run(operation, world.id(target), **doom)
            assert ending.error is None, ending.text
            if ending.killed:
                crashes += 1
                champion = invariants.production(world.services)
                recover_promotion(world.services, actor=an_actor("recovery"))
                assert invariants.recovered(world.services) == champion
                live = next(number for number in RELEASES if world.id(number) == champion)
                continue
            live = target
            switches.append((ending.times["model copied"], ending.times["switched"]))
            disagreements.append(ending.times["switched"] - ending.times["journal opened"])
        quiet = [(begin - 0.05, begin - 0.05 + end - begin) for begin, end in switches]
    assert found.errors == []
    total = sum(found.reads.values())
    stalls = np.array([found.stall(begin, end) for begin, end in switches]) * 1000
    usual = np.array([found.stall(begin, end) for begin, end in quiet]) * 1000
    parts = ", ".join(f"{kind} {count}" for kind, count in sorted(found.reads.items()))
    figure(
        f"reads by {PROCESSES * READERS_EACH} readers: {total} ({parts}) through {len(switches)} "
        f"switches and {crashes} crashes: 0 errors, 0 missing tables, 0 torn models, 0 mixed pairs"
    )
    figure(
        f"longest read of tables during a switch: p50 {np.percentile(stalls, 50):.0f} ms, "
        f"p99 {np.percentile(stalls, 99):.0f} ms; in as long a time just before: "
        f"p50 {np.percentile(usual, 50):.0f} ms, p99 {np.percentile(usual, 99):.0f} ms"
    )
    figure(
        "disagreement of the fixed key with the tables (1 MiB model, under readers): "
        f"at most {max(disagreements) * 1000:.0f} ms in a switch, none after recovery"
    )
    assert total >= LEAST_READS
    assert crashes >= 5
    assert set(found.reads) == {
        "public names",
        "pair of tables",
        "pair with its model",
        "fixed key",
    }


def test_a_switch_does_not_wait_for_a_reader_that_holds_its_transaction(
    world: World, children: Any, figure: Any
):
    """The reader ends its transaction only when the switches are done, however long they take."""
    for number in RELEASES:
        world.candidate(number)
    child: Child = children(world)
    assert child.run("promote", world.id(1)).error is None
    with psycopg.connect(world.services.postgres.dsn.get_secret_value()) as slow:
        before = slow.execute("select vector::text from movie_vectors order by movieid").fetchall()
        held = threading.Timer(3, lambda: None)
        held.start()
        taken = []
        targets = itertools.cycle([2, 3, 1])
        while held.is_alive() or len(taken) < 3:
            ending = child.run("promote", world.id(next(targets)))
            assert ending.error is None, ending.text
            taken.append(ending.times["switched"] - ending.times["model copied"])
        assert slow.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        names = [table_name("movie_vectors", world.id(n)) for n in RELEASES]
        # Nothing that it has read is gone.
        again = slow.execute(
            sql.SQL("select vector::text from recsys.{} order by movieid").format(
                sql.Identifier(names[0])
            )
        ).fetchall()
        assert again == before
    figure(
        f"switches under a reader that held its transaction throughout: {len(taken)}, "
        f"longest {max(taken) * 1000:.0f} ms"
    )
