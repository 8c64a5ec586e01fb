"""`recsys replay-history` obeys Ctrl-C at once, and the same command continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from recsys.dataset import write_dataset
from recsys.pipeline import read_journal

DAY = 86_400
RECSYS = str(Path(sys.executable).with_name("recsys"))
STAND_IN = """#!{python}
import json, os, pathlib, sys, time

here = pathlib.Path(__file__).parent
for line in sys.stdin:
    if not (here / "go-on").exists():
        (here / "pid").write_text(str(os.getpid()))
        os.rename(here / "pid", here / "training")
        time.sleep(3600)
    print("\\x1eexit code", 65, flush=True)
"""


def write_history(path: Path) -> None:
    """Forty users who rate a movie a day, each from another day on."""
    movies = "".join(f"{n},Movie {n} ({1980 + n}),Drama|Comedy\n" for n in range(1, 31))
    ratings = "".join(
        f"{user},{1 + (user * 7 + day) % 30},{(user + day) % 9 / 2 + 0.5},{(user + day) * DAY}\n"
        for user in range(1, 41)
        for day in range(25)
    )
    write_dataset(
        path,
        b"movieId,title,genres\n" + movies.encode(),
        [b"userId,movieId,rating,timestamp\n" + ratings.encode()],
    )


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RECSYS_HOME": str(folder / "home"),
        "RECSYS_TRAINER_PYTHON": str(folder / "python"),
    }
    command = ["replay-history", "--source", str(folder / "all.zip"), "--every", "7d"]
    return subprocess.Popen(
        [RECSYS, *command, "--dumps", "2", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> str:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()


def processes_in(folder: Path) -> list[str]:
    """The processes that work in a folder or have it in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def test_ctrl_c_ends_a_replay_at_once_and_the_same_command_continues(tmp_path: Path) -> None:
    write_history(tmp_path / "all.zip")
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable))
    python.chmod(0o700)
    journal = tmp_path / "home" / "replay-history" / "replayed.jsonl"

    first = start(tmp_path)
    pid = int(wait_for(tmp_path / "training", first))
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 128 + signal.SIGINT, said
    assert "stopping" in said
    assert not psutil.pid_exists(pid)
    assert processes_in(tmp_path) == [], "no server is left"
    assert read_journal(journal) == []

    (tmp_path / "go-on").touch()
    second = start(tmp_path, "--json")
    out, said = second.communicate(timeout=600)
    assert second.returncode == 0, said
    dumps = json.loads(out)["dumps"]
    assert [(one["number"], one["outcome"]) for one in dumps] == [(1, "refused"), (2, "refused")]
    assert all("exit code 65 (BAD_DATA)" in one["reason"] for one in dumps)
    assert [one.number for one in read_journal(journal)] == [1, 2]
    assert processes_in(tmp_path) == []
