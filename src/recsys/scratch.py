"""Folders for temporary files: always removed, with clear errors if the disk is full."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from recsys.errors import DiskFullError

_PREFIX: Final = "recsys-scratch-"
_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_RUST_DISK_FULL: Final = f"(os error {errno.ENOSPC})"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Creates a private folder in the system's temporary folder (``TMPDIR``).

    The folder is removed at the end of the ``with`` block. If a process is killed, the next call
    in any process removes its folder; a lock marks the folders that are in use.

    Args:
        purpose: part of the folder's name, for people.

    Raises:
        DiskFullError: the disk is full.
    """
    root = Path(tempfile.gettempdir())
    with _translate_disk_full(root):
        _remove_abandoned_folders(root)
        folder, lock = _locked_folder(root, f"{_PREFIX}{purpose}-")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def check_space(folder: Path, size: int) -> None:
    """Checks that ``size`` bytes are free, before they are written: others use the disk, too.

    Raises:
        DiskFullError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_space(folder, f"{free} bytes free", f"{size} bytes")


def _locked_folder(root: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        # Before the lock is taken, another process may remove the folder as abandoned.
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _try_lock(lock) and folder.exists():
                return folder, lock
            os.close(lock)


def _remove_abandoned_folders(root: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*"):
        # The folder is already gone, a link, or owned by another account.
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid() and _try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _translate_disk_full(root: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # polars has no error type for it, only the text of Rust's error.
        is_full = (
            error.errno in _DISK_FULL
            if isinstance(error, OSError)
            else _RUST_DISK_FULL in str(error)
        )
        if not is_full:
            raise
        raise _no_space(root, str(error), "space for temporary files") from error


def _no_space(folder: Path, found: str, expected: str) -> DiskFullError:
    return DiskFullError(
        f"the disk of {folder} is full",
        found=found,
        expected=expected,
        hint="free space there, or set TMPDIR to a larger disk; incomplete files were removed",
    )
