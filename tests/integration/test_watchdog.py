"""A test process that is killed leaves no server and no temporary file behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import wait_for_end

# Starts both servers, names their processes, and never ends.
TEST = """
import json, os, pathlib, time
from recsys.embedded.postgres import Postgres
from recsys.embedded.s3 import S3

def test_it(postgres_server, s3_server, session_home):
    servers = (Postgres(session_home), S3(session_home))
    pids = [process.pid for server in servers for process in server.members()]
    noted = pathlib.Path({path!r})
    noted.with_suffix(".new").write_text(json.dumps([os.environ["TMPDIR"], pids]))
    noted.with_suffix(".new").rename(noted)
    time.sleep(600)
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_servers_of_a_killed_test_process_end(
    tmp_path: Path, repository: Path, workers: int
) -> None:
    noted = tmp_path / "noted"
    (tmp_path / "test_it.py").write_text(TEST.format(path=str(noted)))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        *("-n", str(workers)),
    ]
    with subprocess.Popen(
        [*command, "-c", "/dev/null", f"--rootdir={tmp_path}", str(tmp_path / "test_it.py")],
        cwd=repository,
        stdout=(tmp_path / "output").open("wb"),
        stderr=subprocess.STDOUT,
    ) as killed:
        while not noted.exists():
            assert killed.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
    folder, pids = json.loads(noted.read_text())
    assert len(pids) > 2
    assert wait_for_end(*pids, seconds=600)
    while Path(folder).exists():
        time.sleep(0.1)
