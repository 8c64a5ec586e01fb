"""Folders for temporary files: removed whatever happens, and a full disk says what to do."""

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
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_RUST: Final = f"(os error {errno.ENOSPC})"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A folder of this process's own below the system's temporary folder (``TMPDIR``).

    It is removed at the end. A process that was killed leaves its folder behind; the next one
    that makes a folder removes it, and tells it from one in use by a lock on it.

    Args:
        purpose: part of the folder's name, for people.

    Raises:
        DiskFullError: the disk was full when the folder, or a file in it, was written.
    """
    root = Path(tempfile.gettempdir())
    with _full_disk(root):
        _sweep(root)
        folder, lock = _locked_folder(root, f"{_PREFIX}{purpose}-")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def check_space(folder: Path, size: int) -> None:
    """Raises unless ``size`` more bytes fit: a full disk harms all others that write to it.

    Raises:
        DiskFullError: they do not fit.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_space(folder, f"{free} bytes free", f"{size} bytes")


def _locked_folder(root: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        # Between the two lines another process may have taken it for a dead one's and removed it.
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _take(lock) and folder.exists():
                return folder, lock
            os.close(lock)


def _sweep(root: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*"):
        # Gone meanwhile, a link, or another account's: not ours to remove.
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid() and _take(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _full_disk(root: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # polars has no error of its own for it: Rust's text is all there is.
        is_full = error.errno in _FULL if isinstance(error, OSError) else _RUST in str(error)
        if not is_full:
            raise
        raise _no_space(root, str(error), "room for temporary files") from error


def _no_space(folder: Path, found: str, expected: str) -> DiskFullError:
    return DiskFullError(
        f"the disk that holds {folder} is full",
        found=found,
        expected=expected,
        hint="free space there, or point TMPDIR at a larger disk; nothing half-written was kept",
    )
