"""Fixtures: the trainer under test, of this environment or of an image (`IMAGE=`)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.contract.runner import ImageTrainer, LocalTrainer, Trainer
from tests.trainer.conftest import bench, s3_server, small

__all__ = ["bench", "s3_server", "small"]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only folder that a local trainer can write to."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def trainer(scratch: Path) -> Trainer:
    image = os.environ.get("IMAGE")
    if not image:
        return LocalTrainer(scratch)
    engine = os.environ.get("ENGINE") or shutil.which("podman") or shutil.which("docker")
    if engine is None:
        pytest.fail(f"IMAGE={image} needs podman or docker")
    return ImageTrainer(engine, image)


@pytest.fixture(scope="session")
def image(trainer: Trainer) -> ImageTrainer:
    if not isinstance(trainer, ImageTrainer):
        pytest.skip("no image to test: run make contract IMAGE=name")
    return trainer
