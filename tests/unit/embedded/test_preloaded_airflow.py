"""The libraries that Airflow's forking components import before they fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from recsys.embedded import preloaded_airflow

_REPORT = """
import importlib, json, os, sys, threading
from recsys.embedded.preloaded_airflow import LIBRARIES
for name in LIBRARIES:
    importlib.import_module(name)
tasks = "/proc/self/task"
threads = len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()
print(json.dumps({"threads": threads, "modules": sorted(sys.modules)}))
"""


def test_the_libraries_exist_start_no_thread_and_contain_no_code_of_the_project(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _REPORT],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    own = [name for name in found["modules"] if name.partition(".")[0] in ("recsys", "recsys_dag")]
    assert found["threads"] == 1
    assert own == ["recsys", "recsys.embedded", "recsys.embedded.preloaded_airflow"]


def test_a_library_that_is_not_installed_is_left_out() -> None:
    preloaded_airflow.preload(["no_such_library", "json"])
