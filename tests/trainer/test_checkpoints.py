"""Checkpoints are used by the same build only; a killed training resumes with the same result."""

import os
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.contract import ExitCode, TrainerInput
from recsys.errors import ServiceUnavailableError
from tests.trainer.conftest import QUICK, Bench
from trainer.__main__ import main
from trainer.checkpoints import PHASES, Checkpoint, StoredCheckpoints
from trainer.config import training_config
from trainer.data import make_ratings
from trainer.rating.fit import fit_rating_model

Tables = tuple[pl.DataFrame, pl.DataFrame]
RELEASE = "0123abcd-4567ef89"
PHASE = PHASES[0]
FOUND = Checkpoint({"table": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"epoch": 3})

# Runs the trainer; the process kills itself at the n-th call of a function.
KILLED_AT = """
import importlib, os, signal, sys
module, name, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
module = importlib.import_module(module)
original, left = getattr(module, name), [calls]
def wrapped(*arguments, **named):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
setattr(module, name, wrapped)
from trainer.__main__ import main
sys.exit(main(["train"], os.environ))
"""


class InMemory:
    """Keeps checkpoints in memory; one is always due."""

    def __init__(self) -> None:
        self.saved: dict[str, Checkpoint] = {}
        self.all: list[Checkpoint] = []

    def load(self, phase: str) -> Checkpoint | None:
        return self.saved.get(phase)

    def due(self) -> bool:
        return True

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        self.saved[phase] = checkpoint
        self.all.append(checkpoint)


def _checkpoints(bench: Bench, fingerprint: str = "f" * 64) -> StoredCheckpoints:
    return StoredCheckpoints(bench.store, RELEASE, fingerprint)


def test_a_saved_checkpoint_is_loaded(bench: Bench) -> None:
    _checkpoints(bench).save(PHASE, FOUND)
    found = _checkpoints(bench).load(PHASE)
    assert found is not None
    assert found.facts == FOUND.facts
    np.testing.assert_array_equal(found.arrays["table"], FOUND.arrays["table"])
    assert _checkpoints(bench).load(PHASES[1]) is None


def test_another_build_does_not_load_it(bench: Bench) -> None:
    _checkpoints(bench).save(PHASE, FOUND)
    assert _checkpoints(bench, "e" * 64).load(PHASE) is None


@pytest.mark.parametrize("keep", [0, 40, -30])
def test_a_truncated_checkpoint_is_not_loaded(bench: Bench, keep: int) -> None:
    _checkpoints(bench).save(PHASE, FOUND)
    key = contract.checkpoint_key(RELEASE, PHASE)
    bench.store.put_bytes(key, bench.store.get_bytes(key)[:keep])
    assert _checkpoints(bench).load(PHASE) is None


def test_none_is_due_after_a_write_and_clear_deletes_all(bench: Bench) -> None:
    checkpoints = _checkpoints(bench)
    assert checkpoints.due()
    checkpoints.save(PHASE, FOUND)
    assert not checkpoints.due()
    checkpoints.clear()
    assert bench.store.keys(contract.release_inbox_prefix(RELEASE)) == []


def test_an_unavailable_store_does_not_fail_the_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ServiceUnavailableError("S3 does not answer")

    monkeypatch.setattr(bench.store, "put_file", fail)
    _checkpoints(bench).save(PHASE, FOUND)


@pytest.mark.parametrize("with_validation", [False, True])
def test_a_resumed_fit_has_the_result_of_an_uninterrupted_one(
    small: Tables, with_validation: bool
) -> None:
    ratings = make_ratings(*small)
    config = training_config(QUICK).rating
    hidden = np.arange(len(ratings)) % 20 == 1
    validation = ratings.subset(hidden) if with_validation else None

    def fit(checkpoints: InMemory) -> tuple[list[int], np.ndarray]:
        epochs_seen: list[int] = []
        fitted = fit_rating_model(
            ratings.subset(~hidden),
            config,
            np.random.default_rng(0),
            lambda record: epochs_seen.append(record.epoch),
            validation,
            checkpoints=checkpoints,
        )
        return epochs_seen, np.hstack(
            [fitted.folded.user_vectors, fitted.folded.user_bias[:, None]]
        )

    uninterrupted, interrupted = InMemory(), InMemory()
    whole, expected = fit(uninterrupted)
    # As if the process had been killed in the sixth epoch.
    checkpoint = uninterrupted.all[4]
    assert len(checkpoint.facts["records"]) == 5
    interrupted.saved["evaluated-rating"] = checkpoint
    epochs_seen, found = fit(interrupted)
    # Epochs before the checkpoint are reported again, so that the history is complete.
    assert epochs_seen == whole == list(range(1, config.epochs + 1))
    np.testing.assert_array_equal(found, expected)


def _killed_at(bench: Bench, trainer_input: TrainerInput, where: tuple[str, str, str]) -> int:
    process = bench.fork(trainer_input, "-c", KILLED_AT, *where)
    try:
        return process.wait(300)
    finally:
        process.end()


def _metrics(bench: Bench, trainer_input: TrainerInput) -> object:
    manifest = bench.candidate(trainer_input)
    return manifest and manifest.metrics


def test_kills_in_three_phases_leave_no_manifest_and_do_not_change_the_metrics(
    bench: Bench, small: Tables, trained: TrainerInput, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = bench.input(md5="2" * 32)
    bench.put_features(*small, md5=killed.build.dataset_md5)
    for where in (
        ("trainer.rating.fit", "epoch_batches", "7"),  # while fitting to the training part
        ("trainer.rating.fit", "epoch_batches", "12"),  # then, continued, to all interactions
        ("trainer.export", "file_sha256", "4"),  # between two uploads
    ):
        assert _killed_at(bench, killed, where) == -signal.SIGKILL, where
        assert bench.candidate(killed) is None
    assert main([], bench.environment(killed)) == ExitCode.OK
    assert "resumes after epoch" in capsys.readouterr().out
    assert _metrics(bench, killed) == _metrics(bench, trained) is not None
    left = bench.store.keys(contract.release_inbox_prefix(killed.release_id))
    assert not [key for key in left if "checkpoints" in key]


def test_a_checkpoint_that_cannot_be_written_does_not_fail_the_training(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.checkpoints.TemporaryDirectory", lambda prefix: _Gone(tmp_path))
    _checkpoints(bench, "d" * 64).save(PHASE, FOUND)
    assert _checkpoints(bench, "d" * 64).load(PHASE) is None


class _Gone:
    """A temporary folder that does not exist."""

    def __init__(self, folder: Path) -> None:
        self._name = os.fspath(folder / "gone" / "away")

    def __enter__(self) -> str:
        return self._name

    def __exit__(self, *error: object) -> None:
        pass
