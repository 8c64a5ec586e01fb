"""Checkpoints of a training, stored in S3, because pods have no persistent disk.

Each phase of a training has one object in the inbox of the release. It is written atomically, used
only by the same build, and deleted after the manifest is written.
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
_MAX_SHARE_OF_TIME: Final = 0.05


@dataclass(frozen=True)
class Checkpoint:
    """The state of a fit.

    Attributes:
        arrays: arrays by name.
        facts: JSON values by name.
    """

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


class CheckpointStore(Protocol):
    """Saves and loads the state of a fit."""

    def load(self, phase: str) -> Checkpoint | None:
        """Returns the checkpoint of a phase, or None if there is no usable one."""

    def due(self) -> bool:
        """Returns whether enough time has passed since the last checkpoint."""

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        """Saves the checkpoint of a phase, replacing an earlier one."""


class _NoCheckpoints:
    def load(self, phase: str) -> Checkpoint | None:
        return None

    def due(self) -> bool:
        return False

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        pass


NO_CHECKPOINTS: Final[CheckpointStore] = _NoCheckpoints()
"""Saves nothing: a training without an object store cannot be resumed."""


class _Store(Protocol):
    def put_file(self, key: str, path: Path, metadata: dict[str, str] | None = None) -> None: ...

    def download(self, key: str, path: Path, sha256: str | None = None) -> None: ...

    def delete(self, keys: list[str]) -> None: ...


class StoredCheckpoints:
    """Checkpoints of one release in the object store.

    Writing takes at most a twentieth of the training time: the pause after a write is proportional
    to its duration. A checkpoint that cannot be written or read does not fail the training.

    Args:
        store: the object store.
        release_id: the release whose inbox contains the checkpoints.
        fingerprint: the build's; a checkpoint of another build is never used.
    """

    def __init__(self, store: _Store, release_id: str, fingerprint: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._keys = {phase: contract.checkpoint_key(release_id, phase) for phase in PHASES}
        self._next = time.monotonic()

    def load(self, phase: str) -> Checkpoint | None:
        """Returns the checkpoint of a phase, or None if there is no intact one of this build."""
        try:
            with TemporaryDirectory(prefix="recsys-checkpoint-") as folder:
                path = Path(folder) / "checkpoint.npz"
                self._store.download(self._keys[phase], path)
                found = _read(path)
        except ArtifactError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("the checkpoint of %s cannot be used: %s", phase, error)
            return None
        if found.facts.pop("fingerprint", None) != self._fingerprint:
            log.warning("the checkpoint of %s is of another build: not used", phase)
            return None
        return found

    def due(self) -> bool:
        """Returns whether the pause after the last write is over."""
        return time.monotonic() >= self._next

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint; if store or disk are not available, logs a warning and goes on."""
        started = time.monotonic()
        facts = {**checkpoint.facts, "fingerprint": self._fingerprint}
        try:
            with TemporaryDirectory(prefix="recsys-checkpoint-") as folder:
                path = Path(folder) / "checkpoint.npz"
                _write(path, Checkpoint(checkpoint.arrays, facts))
                self._store.put_file(self._keys[phase], path)
        except (OSError, TransientError) as error:
            log.warning("no checkpoint was written: %s", error)
        duration = time.monotonic() - started
        self._next = time.monotonic() + duration / _MAX_SHARE_OF_TIME

    def clear(self) -> None:
        """Deletes all checkpoints of the release."""
        self._store.delete(list(self._keys.values()))


class ReadOnlyCheckpoints(StoredCheckpoints):
    """Checkpoints of a worker that is not the chief: it reads those that the chief writes."""

    def due(self) -> bool:
        """Returns False: only the chief saves."""
        return False

    def save(self, phase: str, checkpoint: Checkpoint) -> None:
        """Does nothing: only the chief saves."""


def _write(path: Path, checkpoint: Checkpoint) -> None:
    facts = np.frombuffer(json.dumps(checkpoint.facts).encode(), np.uint8)
    # mypy mistakes the keywords for parameters of savez.
    np.savez(path, **{_FACTS: facts}, **checkpoint.arrays)  # type: ignore[arg-type]


def _read(path: Path) -> Checkpoint:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Checkpoint(arrays, json.loads(arrays.pop(_FACTS).tobytes()))
