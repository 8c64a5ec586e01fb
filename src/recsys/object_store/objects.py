"""Properties of stored objects, and the sha256 of a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class StoredObject:
    """Properties of a stored object.

    Attributes:
        key: its key in the bucket.
        size: bytes.
        metadata: user metadata, with lower-case names.
    """

    key: str
    size: int
    metadata: dict[str, str]


@dataclass(frozen=True)
class ListedObject:
    """What a list of a bucket says of an object.

    Attributes:
        key: its key in the bucket.
        size: bytes.
        modified: when it was written.
    """

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class StoredContent(StoredObject):
    """Properties of a stored object, and what its content is.

    Attributes:
        sha256: of the content, 64 hex digits.
    """

    sha256: str


def file_sha256(path: Path) -> str:
    """Computes the sha256 of a file, 64 hex digits, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
