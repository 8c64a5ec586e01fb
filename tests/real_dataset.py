"""GroupLens' real dataset for tests: ``python -m tests.real_dataset FILE`` fetches it.

Tests use the file that ``RECSYS_TEST_DATASET`` names, else one beside the repository.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

VARIABLE: Final = "RECSYS_TEST_DATASET"


def real_dataset(repository: Path) -> Path:
    """Returns the zip; skips the test if there is none.

    Raises:
        FileNotFoundError: the variable names a file that does not exist.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else repository.parent / "shared" / "data" / "ml-latest-small.zip"
    if path.is_file():
        return path
    if named:
        raise FileNotFoundError(f"{VARIABLE} names {named}, and there is no such file")
    pytest.skip(f"the real dataset is not here: fetch it, and set {VARIABLE} to its path")


def main(target: Path) -> None:
    """Fetches the dataset of RECSYS_SOURCE, or the default one, as the pipeline does."""
    from recsys.dataset import DEFAULT_SOURCE, obtain_dataset

    source = os.environ.get("RECSYS_SOURCE") or DEFAULT_SOURCE
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        fetched = obtain_dataset(source, Path(folder))
        shutil.copyfile(fetched.path, Path(folder) / "copy")
        (Path(folder) / "copy").replace(target)
    print(f"{target} has the md5 {fetched.md5}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
