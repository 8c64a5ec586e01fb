"""Runs the trainer with this architecture: ``python -m examples.another_model``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trainer.__main__ import main

if TYPE_CHECKING:
    from trainer.architecture import FitModels


def architecture() -> FitModels:
    """Imports the architecture late: invalid settings are refused before TensorFlow is loaded."""
    from examples.another_model.model import fit_models

    return fit_models


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:], os.environ, architecture))
