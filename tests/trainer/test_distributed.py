"""Two workers train one release together, as processes of their own; and one of them dies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from conftest import QUICK, ROOT, Bench

from recsys import contract
from recsys.contract import Manifest
from recsys.errors import ConfigurationError
from trainer.batches import epoch_batches, share
from trainer.cluster import place
from trainer.config import RatingConfig
from trainer.data import make_ratings

TOLERANCE = {"rmse": 1e-3, "mae": 1e-3, "ndcg@10": 5e-3}
INDEXED = {
    "RECSYS_WORKERS": "3",
    "JOB_COMPLETION_INDEX": "1",
    "HOSTNAME": "job-recsys-train-ab12-1",
    "RECSYS_WORKER_SERVICE": "recsys-trainer",
}


def test_an_indexed_job_tells_each_pod_its_place() -> None:
    found = place(INDEXED)
    assert found is not None
    assert (found.index, found.count) == (1, 3)
    assert json.loads(found.tf_config) == {
        "cluster": {"worker": [f"job-recsys-train-ab12-{i}.recsys-trainer:2222" for i in range(3)]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize("alone", [{}, {"RECSYS_WORKERS": "1"}, {"TF_CONFIG": ""}])
def test_nothing_told_means_alone(alone: dict[str, str]) -> None:
    assert place(alone) is None


@pytest.mark.parametrize(
    "change",
    [
        {"RECSYS_WORKERS": "two"},
        {"RECSYS_WORKERS": "0"},
        {"JOB_COMPLETION_INDEX": "3"},
        {"JOB_COMPLETION_INDEX": ""},
        {"HOSTNAME": "elsewhere"},
        {"HOSTNAME": "-1"},
        {"RECSYS_WORKER_SERVICE": ""},
        {"TF_CONFIG": "{"},
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'},
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'},
    ],
)
def test_a_place_that_makes_no_sense_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        place({**INDEXED, **change})


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shares_of_a_step_are_the_whole_step(small, count: int) -> None:
    ratings = make_ratings(*small)
    for batch in epoch_batches(ratings, RatingConfig(batch_size=256), np.random.default_rng(1)):
        shares = [share(batch, index, count) for index in range(count)]
        for name in ("users", "rows"):
            parts = np.concatenate([getattr(s, name) for s in shares])
            assert sorted(parts) == sorted(getattr(batch, name))
        targets = np.concatenate([s.rows[s.targets] for s in shares])
        assert sorted(targets) == sorted(batch.rows[batch.targets])
        for s in shares:
            # What belongs together still does, in the order that segment sums need.
            assert (s.users[s.row_user] == ratings.user[s.rows]).all()
            assert (s.users[s.target_user] == ratings.user[s.rows[s.targets]]).all()
            assert (np.diff(s.row_user) >= 0).all()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Workers:
    """The processes of one distributed training."""

    def __init__(self, bench: Bench, given: Any, count: int = 2) -> None:
        hosts = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.lines: list[list[str]] = [[] for _ in hosts]
        self.processes = []
        self._readers = []
        for index in range(count):
            config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            process = subprocess.Popen(
                [sys.executable, "-m", "trainer"],
                env=bench.environment(given) | {"TF_CONFIG": json.dumps(config)},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            reader = threading.Thread(target=self._read, args=(index, process), daemon=True)
            reader.start()
            self.processes.append(process)
            self._readers.append(reader)

    def _read(self, index: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self.lines[index].append(line.rstrip())

    def wait(self) -> list[int]:
        codes = [process.wait(400) for process in self.processes]
        for reader in self._readers:
            reader.join(10)
        return codes

    def said(self, index: int) -> str:
        return "\n".join(self.lines[index])

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def together(bench: Bench):
    started: list[Workers] = []

    def start(given: Any) -> Workers:
        started.append(Workers(bench, given))
        return started[-1]

    yield start
    for each in started:
        each.end()


def manifest_of(bench: Bench, release_id: str) -> Manifest:
    key = contract.release_key(release_id, contract.MANIFEST_FILE)
    return Manifest.from_json(bench.store.get_bytes(key))


@pytest.mark.timeout(500)
def test_two_workers_make_a_release_as_good_as_one_workers(bench: Bench, small, together) -> None:
    alone, shared = bench.input(md5="1" * 32), bench.input(md5="2" * 32)
    for given in (alone, shared):
        bench.put_features(*small, given.build.dataset_md5)
    workers = together(shared)
    codes = workers.wait()
    assert codes == [0, 0], workers.said(0) + workers.said(1)
    code, out = bench.run(alone)
    assert code == 0, out
    ours, theirs = (manifest_of(bench, g.release_id).metrics["model"] for g in (shared, alone))
    for name, tolerance in TOLERANCE.items():
        print(f"{name}: two workers {ours[name]:.5f}, one {theirs[name]:.5f}")
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance)
    assert "wrote releases/" in workers.said(0)
    assert "wrote releases/" not in workers.said(1), "the chief alone writes"
    code, out = bench.run(shared, "verify")
    assert code == 0, out


@pytest.mark.timeout(500)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_workers_death_ends_the_others_without_a_manifest(
    bench: Bench, small, together, victim: int
) -> None:
    long = {**QUICK, "rating": {"members": 2, "epochs": 1000, "patience": 1000}}
    given = bench.input(long, md5=str(5 + victim) * 32)
    bench.put_features(*small, given.build.dataset_md5)
    workers = together(given)
    deadline = time.monotonic() + 300
    while not all("rating model epoch 2" in workers.said(i) for i in (0, 1)):
        assert time.monotonic() < deadline, workers.said(0) + workers.said(1)
        time.sleep(0.2)
    os.kill(workers.processes[victim].pid, 9)
    codes = workers.wait()
    assert codes[victim] == -9
    assert codes[1 - victim] == 75, workers.said(1 - victim)
    assert "another worker of this training was lost" in workers.said(1 - victim)
    assert bench.store.head(contract.release_key(given.release_id, contract.MANIFEST_FILE)) is None
