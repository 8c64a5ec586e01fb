"""The trainer's Dockerfile, really built, and its image held to the contract."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_NEEDED = ("buildah", "podman", "debootstrap")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_trainers_image_is_built_and_keeps_the_contract(repository: Path) -> None:
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; the trainer's image is not built")
    if not os.environ.get("RECSYS_BUILD_IMAGES"):
        pytest.skip("building the trainer's image takes 5 minutes: set RECSYS_BUILD_IMAGES=1")
    python = repository / "trainer/.venv/bin/python"
    home = os.environ.get("RECSYS_IMAGES_HOME") or tempfile.mkdtemp(prefix="recsys-images-")
    built = subprocess.run(
        ["bash", "tests/images/build.sh", "trainer", home],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    settings = dict(re.findall(r"(CONTAINERS_\w+)=(\S+)", built.stdout))
    held = subprocess.run(
        [python, "-m", "pytest", "-q", "--rootdir", "trainer", "tests/contract"],
        cwd=repository,
        env={**os.environ, **settings, "IMAGE": "localhost/recsys-trainer:tried"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert held.returncode == 0, held.stdout[-5000:]
    if "RECSYS_IMAGES_HOME" not in os.environ:
        shutil.rmtree(home)
