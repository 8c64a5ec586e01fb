"""The folder of model files: damage, killed downloads, and two processes that share it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from model_files import ModelFiles, TornModelError

CONTENT = b"a model " * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = b"another model"
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()

PROCESS = """
import sys
from pathlib import Path
from model_files import ModelFiles

content = b"a model " * 100_000

def wait(said):
    print(said, flush=True)
    sys.stdin.readline()

def download():
    yield content[:1000]
    wait("downloading")
    yield content[1000:]

with ModelFiles(Path(sys.argv[1])).verified(sys.argv[2], download) as path:
    wait("loading")
    print(path.read_bytes() == content, flush=True)
"""


def never() -> Iterator[bytes]:
    pytest.fail("it was downloaded again")
    yield b""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@contextmanager
def another_process(folder: Path, repository: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that provides the same file, and stops in the download and before the load."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), SHA256],
        env=os.environ | {"PYTHONPATH": str(repository / "site")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def proceed(process: subprocess.Popen[str]) -> None:
    stdin: IO[str] | None = process.stdin
    assert stdin is not None
    stdin.write("\n")
    stdin.flush()


def test_a_whole_file_is_downloaded_once(tmp_path):
    files = ModelFiles(tmp_path / "new" / "folder")
    for download in (lambda: [CONTENT], never):
        with files.verified(SHA256, download) as path:
            assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("damaged", [CONTENT[:1000], b"", CONTENT[:-1] + b"x"])
def test_a_file_that_a_power_cut_damaged_is_downloaded_again(tmp_path, damaged):
    (tmp_path / f"{SHA256}.keras").write_bytes(damaged)
    with ModelFiles(tmp_path).verified(SHA256, lambda: [CONTENT]) as path:
        assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("before", [None, CONTENT[:1000]])
def test_wrong_content_never_gets_the_name_of_the_file(tmp_path, before):
    path = tmp_path / f"{SHA256}.keras"
    if before is not None:
        path.write_bytes(before)
    with (
        pytest.raises(TornModelError, match=f"expected {SHA256}"),
        ModelFiles(tmp_path).verified(SHA256, lambda: [OTHER]),
    ):
        pytest.fail("it was provided")
    assert names(tmp_path) == (set() if before is None else {path.name})


def test_a_failed_download_leaves_nothing(tmp_path):
    def failing() -> Iterator[bytes]:
        yield CONTENT[:1000]
        raise ConnectionError

    with pytest.raises(ConnectionError), ModelFiles(tmp_path).verified(SHA256, failing):
        pytest.fail("it was provided")
    assert names(tmp_path) == set()


def test_content_and_name_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        found = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        # Buffered bytes would be missing from the size.
        done.append((found.suffix, found.stat().st_size if found.is_file() else None))
        fsync(descriptor)

    def recorded_replace(path: Path, target: Path) -> Path:
        done.append(("renamed", None))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    with ModelFiles(tmp_path).verified(SHA256, lambda: [CONTENT]):
        pass
    assert done == [(".partial", len(CONTENT)), ("renamed", None), ("", None)]


def test_leftovers_of_a_killed_download_are_removed(tmp_path, repository):
    with another_process(tmp_path, repository) as process:
        assert said(process) == "downloading"
    (tmp_path / f"{SHA256}.partial").write_bytes(b"of an earlier revision")
    assert len(names(tmp_path)) == 2
    with ModelFiles(tmp_path).verified(SHA256, lambda: [CONTENT]) as path:
        assert names(tmp_path) == {path.name}


def test_two_processes_download_the_same_file_at_the_same_time(tmp_path, repository):
    with another_process(tmp_path, repository) as process:
        assert said(process) == "downloading"
        with ModelFiles(tmp_path).verified(SHA256, lambda: [CONTENT]) as path:
            assert path.read_bytes() == CONTENT
            assert len(names(tmp_path)) == 2, "the download of the other process stays"
            proceed(process)
            assert said(process) == "loading"
            assert path.read_bytes() == CONTENT
        proceed(process)
        assert said(process) == "True"
    assert names(tmp_path) == {f"{SHA256}.keras"}


def test_a_file_that_another_process_loads_is_not_removed(tmp_path, repository):
    files = ModelFiles(tmp_path)
    with files.verified(SHA256, lambda: [CONTENT]):
        pass
    with another_process(tmp_path, repository) as process:
        assert said(process) == "loading"
        with files.verified(OTHER_SHA256, lambda: [OTHER]):
            assert names(tmp_path) == {f"{SHA256}.keras", f"{OTHER_SHA256}.keras"}
        proceed(process)
        assert said(process) == "True"
    with files.verified(OTHER_SHA256, never):
        assert names(tmp_path) == {f"{OTHER_SHA256}.keras"}


@pytest.mark.parametrize("name", ["../outside", f"{'0' * 63}/", "A" * 64, "", f"{SHA256}\n"])
def test_a_name_that_is_no_sha256_touches_no_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "models"
    with pytest.raises(ValueError, match="64 hex digits"), ModelFiles(folder).verified(name, never):
        pytest.fail("it was accepted")
    assert list(tmp_path.iterdir()) == []
