"""Distributed training: two worker processes make one release; one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import contract
from recsys.contract import ExitCode
from recsys.errors import ConfigurationError
from tests.trainer.conftest import QUICK, ROOT, THREADS, Bench
from tests.trainer.processes import ForkedPython
from trainer.__main__ import main
from trainer.config import RatingConfig
from trainer.data import make_ratings
from trainer.distributed.resolver import resolve_worker_task
from trainer.rating.batches import epoch_batches, worker_share

TOLERANCE = {"rmse": 1e-3, "mae": 1e-3, "ndcg@10": 5e-3}
BRIEF: dict[str, Any] = {
    "rating": {"members": 2, "epochs": 4, "patience": 4},
    "ranking": {"epochs": 2, "batch_size": 512},
}
ENDLESS: dict[str, Any] = {**QUICK, "rating": {"members": 2, "epochs": 1000, "patience": 1000}}
INDEXED = {
    "RECSYS_WORKERS": "3",
    "JOB_COMPLETION_INDEX": "1",
    "HOSTNAME": "job-recsys-train-ab12-1",
    "RECSYS_WORKER_SERVICE": "recsys-trainer",
}
TRAIN = ["-m", "trainer"]
# A worker that stops responding in the third epoch, without exiting.
LOST = """
import os, sys, time
from trainer.rating import fit as rating_fit
original, epochs = rating_fit.epoch_batches, []
def epoch_batches(*arguments):
    epochs.append(1)
    if len(epochs) == 3:
        print("stops responding", flush=True)
        time.sleep(600)
    return original(*arguments)
rating_fit.epoch_batches = epoch_batches
from trainer.__main__ import main
sys.exit(main(["train"], os.environ))
"""


def test_a_pod_of_an_indexed_job_resolves_its_task() -> None:
    found = resolve_worker_task(INDEXED)
    assert found is not None
    assert (found.index, found.count) == (1, 3)
    assert json.loads(found.tf_config) == {
        "cluster": {"worker": [f"job-recsys-train-ab12-{i}.recsys-trainer:2222" for i in range(3)]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize("alone", [{}, {"RECSYS_WORKERS": "1"}, {"TF_CONFIG": ""}])
def test_without_a_cluster_the_process_is_the_only_worker(alone: dict[str, str]) -> None:
    assert resolve_worker_task(alone) is None


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
def test_an_invalid_cluster_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        resolve_worker_task({**INDEXED, **change})


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_workers_shares_partition_a_step(small, count: int) -> None:
    ratings = make_ratings(*small)
    for batch in epoch_batches(ratings, RatingConfig(batch_size=256), np.random.default_rng(1)):
        shares = [worker_share(batch, index, count) for index in range(count)]
        for name in ("users", "rows"):
            parts = np.concatenate([getattr(s, name) for s in shares])
            assert sorted(parts) == sorted(getattr(batch, name))
        targets = np.concatenate([s.rows[s.targets] for s in shares])
        assert sorted(targets) == sorted(batch.rows[batch.targets])
        for s in shares:
            # Rows and targets still belong to their users; segment sums need ascending users.
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
    """The worker processes of one distributed training, with their output."""

    def __init__(
        self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path
    ) -> None:
        hosts = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
        self.processes = []
        for index, command in enumerate(commands):
            config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            self.processes.append(
                ForkedPython(
                    command,
                    {**environment, "TF_CONFIG": json.dumps(config)},
                    ROOT,
                    folder / f"{uuid.uuid4().hex}.log",
                )
            )

    def wait(self) -> list[int]:
        return [process.wait(400) for process in self.processes]

    def output(self, index: int) -> str:
        return self.processes[index].text()

    def end(self) -> None:
        for process in self.processes:
            process.end()


@pytest.fixture
def together(bench: Bench, tmp_path: Path):
    started: list[Workers] = []

    def start(trainer_input: Any, commands: Sequence[list[str]] = (TRAIN, TRAIN)) -> Workers:
        started.append(Workers(commands, bench.environment(trainer_input), tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.timeout(500)
def test_two_workers_make_a_release_as_good_as_one_workers(bench: Bench, small, together) -> None:
    alone, shared = (bench.input(BRIEF, md5=digit * 32) for digit in "12")
    for trainer_input in (alone, shared):
        bench.put_features(*small, trainer_input.build.dataset_md5)
    workers = together(shared)
    codes = workers.wait()
    assert codes == [0, 0], workers.output(0) + workers.output(1)
    assert main(["train"], bench.environment(alone)) == ExitCode.OK
    ours, theirs = (bench.admit(g).metrics.model.values() for g in (shared, alone))
    for name, tolerance in TOLERANCE.items():
        print(f"{name}: two workers {ours[name]:.5f}, one {theirs[name]:.5f}")
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance)
    assert f"wrote {contract.INBOX_PREFIX}" in workers.output(0)
    assert f"wrote {contract.INBOX_PREFIX}" not in workers.output(1), "only the chief writes"
    assert main(["verify"], bench.environment(shared)) == ExitCode.OK


@pytest.mark.timeout(500)
def test_a_sampled_softmax_gives_several_workers_the_towers_of_one(tmp_path: Path) -> None:
    from tests.trainer.distributed.sampled_towers import sampled_towers
    from trainer.distributed.collectives import SINGLE_WORKER

    command = ["-m", "tests.trainer.distributed.sampled_towers", str(tmp_path)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **THREADS}
    workers = Workers([command] * 2, environment, tmp_path)
    try:
        assert workers.wait() == [0, 0], workers.output(0) + workers.output(1)
    finally:
        workers.end()
    first, second = (dict(np.load(tmp_path / f"{index}.npz")) for index in (0, 1))
    for name, table in first.items():
        np.testing.assert_array_equal(table, second[name])
    alone = sampled_towers(SINGLE_WORKER)
    # The axes may be rotated: compare the inner products.
    scores = first["users"] @ first["movies"].T
    expected = alone.users @ alone.movies.T
    print(f"towers: scores differ by at most {np.abs(scores - expected).max():.1e}")
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def train_endlessly(
    bench: Bench, tables: Any, together, lost: int | None = None
) -> tuple[Workers, str]:
    """Starts two workers; returns in the middle of the training, or once one stops responding."""
    trainer_input = bench.input(ENDLESS, md5=uuid.uuid4().hex)
    bench.put_features(*tables, trainer_input.build.dataset_md5)
    workers = together(
        trainer_input, [TRAIN if index != lost else ["-c", LOST] for index in (0, 1)]
    )
    for index, process in enumerate(workers.processes):
        process.wait_for_output("stops responding" if index == lost else "rating model epoch 2")
    return workers, trainer_input.release_id


def wait_until_idle(pid: int) -> None:
    """Returns when the process has used next to no processor time for two seconds."""

    def cpu_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    deadline, before = time.monotonic() + 300, cpu_s()
    while True:
        time.sleep(2)
        now = cpu_s()
        if now - before < 0.1:
            return
        before = now
        assert time.monotonic() < deadline, "the process does not become idle"


def assert_no_manifest(bench: Bench, release_id: str) -> None:
    keys = bench.store.keys(contract.release_inbox_prefix(release_id))
    assert not [key for key in keys if key.endswith(contract.MANIFEST_FILE)]


@pytest.mark.timeout(500)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_workers_death_ends_the_others_without_a_manifest(
    bench: Bench, small, together, victim: int
) -> None:
    workers, release_id = train_endlessly(bench, small, together)
    os.kill(workers.processes[victim].pid, signal.SIGKILL)
    codes = workers.wait()
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 75, workers.output(1 - victim)
    assert "another worker of this training was lost" in workers.output(1 - victim)
    assert_no_manifest(bench, release_id)


@pytest.mark.timeout(500)
def test_sigterm_to_all_workers_ends_them(bench: Bench, small, together) -> None:
    """Kubernetes sends SIGTERM to all pods of a deleted Job."""
    workers, release_id = train_endlessly(bench, small, together)
    for process in workers.processes:
        process.terminate()
    codes = workers.wait()
    assert 143 in codes, workers.output(0) + workers.output(1)
    # A worker that loses the other one before it gets SIGTERM itself exits with 75.
    assert set(codes) <= {143, 75}, workers.output(0) + workers.output(1)
    assert_no_manifest(bench, release_id)


@pytest.mark.timeout(500)
def test_sigterm_ends_a_worker_that_is_blocked_waiting_for_another(
    bench: Bench, small, together
) -> None:
    """TensorFlow would wait forever, and Python runs no signal handler meanwhile."""
    workers, release_id = train_endlessly(bench, small, together, lost=1)
    chief = workers.processes[0]
    wait_until_idle(chief.pid)
    chief.terminate()
    assert chief.wait(60) == 143, workers.output(0)
    assert "terminated by SIGTERM" in workers.output(0)
    assert "it was blocked waiting for another worker" in workers.output(0)
    assert_no_manifest(bench, release_id)


def test_sigterm_is_reported_even_if_a_library_replaces_the_exception(
    bench: Bench, small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow did so when the signal arrived while it raised an error about a lost worker."""

    def make_release(*_: Any) -> bool:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except BaseException as error:
            raise RuntimeError("DeadlineExceededError REPLACED BY Terminated") from error
        return True

    monkeypatch.setattr("trainer.release.make_release", make_release)
    trainer_input = bench.input(md5=uuid.uuid4().hex)
    bench.put_features(*small, trainer_input.build.dataset_md5)
    assert main(["train"], bench.environment(trainer_input)) == ExitCode.TERMINATED
    assert "terminated by SIGTERM" in capsys.readouterr().out
