"""A full disk for temporary files: what can go on does, else the trainer may be tried again."""

import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys import contract
from recsys.contract import ExitCode, TrainerInput
from tests.trainer.conftest import Bench
from trainer.__main__ import main
from trainer.checkpoints import PHASES, Checkpoint, StoredCheckpoints
from verifier.__main__ import main as verifier_main

RELEASE = "0123abcd-4567ef99"
TABLE = Checkpoint({"table": np.zeros((500, 500))}, {"epoch": 1})
"""2 MB."""


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A separate file system for temporary files, of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk of its own can be mounted: it takes root")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


@pytest.mark.parametrize("option", ["size=1m", "nr_inodes=1"], ids=["by bytes", "by files"])
def test_a_training_goes_on_without_a_checkpoint(
    bench: Bench, disk: Path, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    store = StoredCheckpoints(bench.store, RELEASE, option)
    resize(disk, option)
    with caplog.at_level(logging.WARNING):
        store.save(PHASES[0], TABLE)
        assert store.load(PHASES[0]) is None
    assert "no checkpoint was written" in caplog.text
    assert "No space left on device" in caplog.text
    assert _left(disk) == []


def test_a_training_that_cannot_write_its_artifacts_says_which_disk_is_full(
    bench: Bench,
    small: tuple[pl.DataFrame, pl.DataFrame],
    disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.put_features(*small, "d" * 32)
    run = bench.input(md5="d" * 32)
    # The features fit, and the artifacts do not.
    resize(disk, "size=256k")
    assert main(["train"], bench.environment(run)) == ExitCode.UNAVAILABLE
    printed = capsys.readouterr().out
    assert "no checkpoint was written" in printed
    _check_advice(printed, disk)
    assert bench.candidate(run) is None
    assert [
        key
        for key in bench.store.keys(contract.inbox_prefix(run.release_id, run.run_nonce))
        if "model" in key
    ] == []
    assert _left(disk) == []
    resize(disk, "size=64m")
    assert main(["train"], bench.environment(run)) == ExitCode.OK
    assert bench.candidate(run) is not None


def test_a_verifier_that_cannot_read_the_candidate_says_which_disk_is_full(
    bench: Bench, trained: TrainerInput, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resize(disk, "size=16k")
    assert verifier_main(["verify"], bench.environment(trained)) == ExitCode.UNAVAILABLE
    _check_advice(caplog.text, disk)
    assert _left(disk) == []


def _left(disk: Path) -> list[str]:
    """Files and folders of the trainer; TensorFlow leaves the folder of its compiled functions."""
    return [path.name for path in disk.iterdir() if path.name.startswith("recsys-")]


def _check_advice(printed: str, disk: Path) -> None:
    line = next(line for line in printed.splitlines() if "disk space ran out" in line)
    assert str(disk) in line
    assert "TMPDIR" in line
    assert "rating.members" not in line, "a smaller model does not free the disk"
