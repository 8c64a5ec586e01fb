from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DiskFullError, TransientError
from recsys.scratch import check_space, scratch_folder

CHILD = """
from recsys.scratch import scratch_folder
with scratch_folder("child") as folder:
    (folder / "file").write_text("left")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def child() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def folder_of(child: subprocess.Popen[str]) -> Path:
    assert child.stdout
    return Path(child.stdout.readline().strip())


def use_folder(error: BaseException | None = None) -> None:
    with scratch_folder("x") as made:
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "deep").mkdir()
        (made / "deep" / "file").write_bytes(b"x")
        if error:
            raise error


def test_the_folder_is_private_and_removed_at_the_end(root: Path) -> None:
    use_folder()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_the_folder_is_removed_after_an_error(root: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        use_folder(error)
    assert caught.value is error
    assert list(root.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(
    root: Path, child: subprocess.Popen[str]
) -> None:
    left = folder_of(child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert (left / "file").exists()
    with scratch_folder("x") as made:
        assert list(root.iterdir()) == [made]


def test_a_folder_in_use_is_not_removed(root: Path, child: subprocess.Popen[str]) -> None:
    used = folder_of(child)
    with scratch_folder("x"), scratch_folder("x"):
        assert (used / "file").read_text() == "left"
        assert len(list(root.iterdir())) == 3
    assert list(root.iterdir()) == [used]
    child.communicate("\n")
    assert child.returncode == 0
    assert list(root.iterdir()) == []


def test_other_files_and_folders_are_not_removed(root: Path) -> None:
    (root / "other-program").mkdir()
    (root / "recsys-scratch-link").symlink_to(root / "other-program")
    (root / "recsys-scratch-file").touch()
    with scratch_folder("x"):
        pass
    names = {path.name for path in root.iterdir()}
    assert names == {"other-program", "recsys-scratch-link", "recsys-scratch-file"}


def fill_by_write() -> None:
    with scratch_folder("x"), Path("/dev/full").open("wb") as file:
        file.write(b"x")


def fill_by_polars() -> None:
    with scratch_folder("x"):
        pl.DataFrame({"a": [1]}).write_parquet("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("fill", [fill_by_write, fill_by_polars])
def test_a_full_disk_is_a_transient_error_with_a_hint(root: Path, fill: Callable[[], None]) -> None:
    with pytest.raises(DiskFullError, match="TMPDIR") as caught:
        fill()
    assert isinstance(caught.value, TransientError)
    assert "No space left" in str(caught.value.found)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), RuntimeError("odd")])
def test_other_errors_are_not_translated(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        use_folder(error)
    assert caught.value is error


def test_too_large_a_file_is_rejected_before_it_is_written(root: Path) -> None:
    check_space(root, 1)
    with pytest.raises(DiskFullError, match=r"free.*TMPDIR"):
        check_space(root, os.statvfs(root).f_blocks * os.statvfs(root).f_frsize + 1)
