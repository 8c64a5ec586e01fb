"""Wheels of this repository's packages, as they are installed elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path


def build_wheel(repository: Path, project: str, folder: Path) -> Path:
    """Builds the wheel of a project.

    Args:
        repository: the root of the repository.
        project: the project's folder in it.
        folder: gets the wheel; of this project, it has none yet.
    """
    uv = repository / ".tools/uv/bin/uv"
    program = str(uv) if uv.exists() else "uv"
    before = set(folder.glob("*.whl"))
    subprocess.run(
        [program, "build", "-q", "--wheel", "--out-dir", folder, repository / project],
        check=True,
        capture_output=True,
    )
    [wheel] = set(folder.glob("*.whl")) - before
    return wheel
