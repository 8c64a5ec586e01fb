"""Stand-ins for the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.trainer_process import LocalTrainer
from tests.integration.trainer_process.stand_ins import StandIn


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    """Returns a function that makes a trainer whose interpreter is a shell script."""

    def make(script: str) -> LocalTrainer:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o700)
        return LocalTrainer(python=python, root=tmp_path)

    return make
