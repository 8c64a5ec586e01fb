"""The trainer's command line with this architecture: ``python -m examples.another_model``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trainer.__main__ import main

if TYPE_CHECKING:
    from trainer.training import FitModels


def architecture() -> FitModels:
    """Imported late, as TensorFlow is: bad settings are refused in an instant."""
    from examples.another_model.model import fit_models

    return fit_models


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:], os.environ, architecture))
