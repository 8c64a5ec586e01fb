"""Finds the files of the project below a folder, without walking through environments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SKIPPED: Final = {".venv", "__pycache__", "node_modules"}


def source_files(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Yields the files below a folder in order, those in virtual environments left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            if name.endswith(suffix):
                yield Path(parent, name)
