"""Importing the command line loads no heavy library, so that its help is shown quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

HEAVY: Final = {
    "airflow",
    "boto3",
    "botocore",
    "jinja2",
    "keras",
    "matplotlib",
    "numpy",
    "optuna",
    "pandas",
    "polars",
    "pyspark",
    "scipy",
    "sklearn",
}
_LOADED: Final = "import json, sys, recsys.cli.app; print(json.dumps(list(sys.modules)))"


def test_the_command_line_imports_no_heavy_library() -> None:
    done = subprocess.run(  # our own interpreter
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "recsys" in loaded
    assert loaded & HEAVY == set()
