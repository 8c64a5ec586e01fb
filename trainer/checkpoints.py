"""What a killed training has already done, kept in S3 because pods have no disk of their own.

There is one object for each phase of a release, below the release's prefix. It is written whole,
read only by the same build, and deleted when the manifest stands.
"""

from __future__ import annotations

import json
import logging
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys import contract
from recsys.errors import ArtifactError, TransientError

log = logging.getLogger(__name__)

PHASES: Final = (
    "scout",
    "evaluated-rating",
    "evaluated-towers",
    "served-rating",
    "served-towers",
)
_FACTS: Final = "facts"
_LARGEST_SHARE_OF_TIME: Final = 0.05


@dataclass(frozen=True)
class Checkpoint:
    """A phase's state.

    Attributes:
        arrays: by name.
        facts: plain JSON values.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class Keeper(Protocol):
    """Where the state of a fit is kept."""

    def load(self, phase: str) -> Checkpoint | None:
        """What was kept of a phase, if anything that can be used."""

    def due(self) -> bool:
        """Whether enough time has passed to keep the state again."""

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        """Keeps the state of a phase in place of what was kept of it before."""


class _Nowhere:
    def load(self, phase: str) -> Checkpoint | None:
        return None

    def due(self) -> bool:
        return False

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        pass


NOWHERE: Final[Keeper] = _Nowhere()
"""Keeps nothing: a training without a store begins anew."""


class _Store(Protocol):
    def put_file(self, key: str, path: Path, metadata: dict[str, str] | None = None) -> None: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...

    def delete(self, keys: list[str]) -> None: ...


class StoredCheckpoints:
    """Checkpoints of one release.

    Writing them takes a twentieth of the time at most: the longer a write takes, the longer the
    pause after it. Nothing fails because a checkpoint cannot be written or read.

    Args:
        store: the object store.
        release_id: whose prefix holds them.
        fingerprint: of the build; a checkpoint of another one is never used.
    """

    def __init__(self, store: _Store, release_id: str, fingerprint: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._keys = {phase: contract.checkpoint_key(release_id, phase) for phase in PHASES}
        self._next = time.monotonic()

    def load(self, phase: str) -> Checkpoint | None:
        """The checkpoint of a phase; None where there is none of this build that is whole."""
        with TemporaryDirectory(prefix="recsys-checkpoint-") as folder:
            path = Path(folder) / "checkpoint.npz"
            try:
                self._store.download(self._keys[phase], path)
                found = _read(path)
            except ArtifactError:
                return None
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                log.warning("the checkpoint of %s cannot be used: %s", phase, error)
                return None
        if found.facts.pop("fingerprint", None) != self._fingerprint:
            log.warning("the checkpoint of %s is another build's: not used", phase)
            return None
        return found

    def due(self) -> bool:
        """Whether the pause after the last write is over."""
        return time.monotonic() >= self._next

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint whole; a store that does not answer costs the checkpoint only."""
        started = time.monotonic()
        facts = {**checkpoint.facts, "fingerprint": self._fingerprint}
        with TemporaryDirectory(prefix="recsys-checkpoint-") as folder:
            path = Path(folder) / "checkpoint.npz"
            try:
                _write(path, Checkpoint(checkpoint.arrays, facts))
                self._store.put_file(self._keys[phase], path)
            except (OSError, TransientError) as error:
                log.warning("no checkpoint was written: %s", error)
        took = time.monotonic() - started
        self._next = time.monotonic() + took / _LARGEST_SHARE_OF_TIME

    def clear(self) -> None:
        """Deletes all checkpoints of the release."""
        self._store.delete(list(self._keys.values()))


class ReadCheckpoints(StoredCheckpoints):
    """Checkpoints as workers see them that are not the chief: they read what it keeps."""

    def due(self) -> bool:
        """Never."""
        return False

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        """Leaves it to the chief."""


def _write(path: Path, checkpoint: Checkpoint) -> None:
    facts = np.frombuffer(json.dumps(checkpoint.facts).encode(), np.uint8)
    # mypy takes the keywords for the parameters of savez.
    np.savez(path, **{_FACTS: facts}, **checkpoint.arrays)  # type: ignore[arg-type]


def _read(path: Path) -> Checkpoint:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Checkpoint(arrays, json.loads(arrays.pop(_FACTS).tobytes()))
