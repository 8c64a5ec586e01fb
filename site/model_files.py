"""The folder of a site's model files: whole, verified, and safe to share between processes.

A file has the name of its sha256 and is read before each use, because what a folder holds after a
power cut or a full disk may be incomplete. A download goes to a temporary file of its own, reaches
the disk, and only then gets its name. A lock marks a file that a process downloads or loads. The
kernel releases the locks of a dead process, so its leftovers are found and removed.

Needs a POSIX system and a file system with `flock`. `release_reader` uses it: copy both files.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final

log = logging.getLogger(__name__)

_SUFFIX: Final = ".keras"
_PARTIAL: Final = ".partial"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ATTEMPTS: Final = 3
"""Downloads of one file, if other processes remove it or the disk damages it each time."""


class TornModelError(Exception):
    """The sha256 of the model differs from the one in the database."""


class ModelFiles:
    """The model files of a folder.

    Args:
        folder: the folder; created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def verified(self, sha256: str, download: Callable[[], Iterable[bytes]]) -> Iterator[Path]:
        """Provides a file with this sha256; no process removes it inside the block.

        Files of other models, and of downloads that died, are removed unless a process uses them.

        Args:
            sha256: of the content, 64 hex digits.
            download: returns the content in parts; called if the folder has no such file.

        Raises:
            TornModelError: the content has another sha256.
            ValueError: ``sha256`` is not 64 hex digits; it becomes the name of a file.
        """
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"found the sha256 {sha256[:80]!r}, expected 64 hex digits")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{sha256}{_SUFFIX}"
        # First, because the space may be needed for the download.
        _remove_unused(self._folder.glob(f"*{_PARTIAL}"))
        for _ in range(_ATTEMPTS):
            with _locked(path, fcntl.LOCK_SH) as file:
                if file is not None:
                    if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                        _remove_unused(
                            other for other in self._folder.glob(f"*{_SUFFIX}") if other != path
                        )
                        yield path
                        return
                    log.warning("%s is damaged; downloading it again", path)
            self._download(path, sha256, download())
        raise TornModelError(
            f"{path}: found another content after each of {_ATTEMPTS} downloads, "
            "although each was whole: check the disk"
        )

    def _download(self, path: Path, sha256: str, content: Iterable[bytes]) -> None:
        """Writes the file, or replaces a damaged one."""
        partial, file = self._new_partial()
        try:
            with file:
                digest = hashlib.sha256()
                for part in content:
                    digest.update(part)
                    file.write(part)
                if digest.hexdigest() != sha256:
                    raise TornModelError(
                        f"found sha256 {digest.hexdigest()}, expected {sha256}: it was changed "
                        "while it was read, or is damaged"
                    )
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        # The new name is only on disk when the folder is.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _new_partial(self) -> tuple[Path, IO[bytes]]:
        """Creates a locked temporary file, which no other process writes or removes."""
        while True:
            descriptor, name = tempfile.mkstemp(suffix=_PARTIAL, dir=self._folder)
            file = os.fdopen(descriptor, "wb")
            fcntl.flock(file, fcntl.LOCK_EX)
            # Another process may have removed it as abandoned before it was locked.
            if _is_at(file, Path(name)):
                return Path(name), file
            file.close()


def _remove_unused(paths: Iterable[Path]) -> None:
    for path in paths:
        with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as file:
            if file is not None:
                path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[BufferedReader | None]:
    """Opens and locks a file; None if it does not exist or, without waiting, if it is in use."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            yield None
            return
        yield file if _is_at(file, path) else None


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file still has this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
