"""The command `recsys demo`, run as a first-time user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import psutil
import pyte
import pytest

from recsys import ledger
from recsys.cli.output import embedded_services
from recsys.dataset import write_sample
from recsys.embedded import stack
from recsys.embedded.home import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    # Not below pytest's own folder: each start of pytest shuts it to other accounts, and as root
    # PostgreSQL runs under one.
    with tempfile.TemporaryDirectory(prefix="recsys-demo-") as folder:
        yield Home(Path(folder))


def environment(home: Home) -> dict[str, str]:
    """This process's environment without its settings, with a shorter training."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "RECSYS"))}
    overrides = {"rating": {"members": 2, "epochs": 6}, "ranking": {"epochs": 3}}
    settings = {"trainer": {"overrides": overrides}}
    return inherited | {
        "RECSYS_HOME": str(home.path),
        "RECSYS_BUILD_SETTINGS": json.dumps(settings),
    }


@pytest.fixture(scope="module")
def demo(home, tmp_path_factory):
    """Runs the demo in a home of its own."""

    # From a folder that is not the project, with a file that has the name of a module.
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "airflow.py").write_text("raise SystemExit('a module of the folder')")

    def run(*arguments: str, command: str = "demo") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("recsys"), command, *arguments],
            cwd=folder,
            env=environment(home) | {"COLUMNS": "80"},
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    stack.stop(home)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    """Large enough for the gate to accept the model on merit."""
    path = tmp_path_factory.mktemp("dataset") / "sample.zip"
    write_sample(path, ratings=30_000, seed=1)
    return str(path)


def test_the_demo_promotes_shows_what_it_made_and_then_finds_nothing_new(
    demo, home, source, repository
):
    first = demo("--source", source, "--details")
    assert first.returncode == 0, first.stdout + first.stderr
    for shown in (
        "rating: epoch 1 of 6, rmse",
        "train_dl_model           success",
        "rmse_against_bias",
        "there is no other champion",
    ):
        assert shown in first.stdout
    summary = first.stdout[first.stdout.index("live  ") :].splitlines()
    assert len(summary) <= 24, "one screen"
    for shown in ("rules passed", "RMSE 0.", "report ", "movies like ", "for user 1", "next steps"):
        assert shown in "\n".join(summary)
    page = (repository / "docs/quick-start.md").read_text()
    for line in page.split("```text\n")[1].split("```")[0].splitlines():
        label = line.partition("  ")[0].partition(" like ")[0]
        if label and label != "..." and not label.isdigit():
            assert any(shown.startswith(label) for shown in summary), label
    report = next(line for line in summary if line.startswith("report ")).split()[1]
    assert (repository / report).is_file(), "a path is never cut"
    # Nor is a command of the next steps, which begins with the path of this clone.
    command = str(Path(sys.executable).with_name("recsys"))
    lines = first.stdout.splitlines()
    assert max(len(line) for line in lines if report not in line and command not in line) <= 80
    assert [s.name for s in stack.status(home) if s.running] == [], "it stops what it started"

    # The dataset is remembered.
    second = demo("--json")
    assert second.returncode == 0, second.stderr
    document = json.loads(second.stdout)
    assert document["reason"] == "this build is the champion"
    assert document["tasks"]["do_nothing"] == "success"
    assert document["champion"]["release_id"] in first.stdout

    # The served model predicts stars for what the demo recommended to the first user.
    asked = demo("--user", "1", "-n", "3", "--json", command="recommend")
    assert asked.returncode == 0, asked.stderr
    movies = json.loads(asked.stdout)["movies"]
    listed = first.stdout[first.stdout.index("movies for user 1") :]
    assert all(movie["title"][:30] in listed for movie in movies)
    assert all(0.5 <= movie["stars"] <= 5 for movie in movies)


def test_the_quick_start_does_what_it_says(home, source, repository, tmp_path):
    """The commands of docs/quick-start.md, in order, where a demo has run before."""
    text = (repository / "docs/quick-start.md").read_text()
    block = text.split("<!-- tested: quick start -->\n```sh\n")[1].split("```")[0]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with stack.data_services(home):
        done = subprocess.run(
            ["sh", "-exc", block],
            cwd=tmp_path,
            env=environment(home) | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("public copies", "Movies like", "Movies for user 1", "no problems found"):
        assert shown in done.stdout


def test_ctrl_c_stops_a_demo_with_all_its_processes(home, tmp_path):
    """In a terminal of 80x24, shortly after the first tasks have begun."""
    other = tmp_path / "other.zip"
    write_sample(other, ratings=500, seed=2)
    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    demo = pexpect.spawn(
        str(Path(sys.executable).with_name("recsys")),
        ["demo", "--source", str(other)],
        env=environment(home) | {"TERM": "xterm-256color"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=300,
    )
    demo.logfile_read = Screen(stream)
    demo.expect("starting PostgreSQL and S3")
    demo.expect("starting the run")
    demo.expect("fetch_dataset")
    assert max(len(line.rstrip()) for line in screen.display) <= 80
    with stack.data_services(home):
        # They run already, and outlast the demo until the end of this block.
        demo.sendintr()
        began = time.monotonic()
        demo.expect(pexpect.EOF, timeout=60)
        demo.close()
        took = time.monotonic() - began
        assert demo.exitstatus == 130
        shown = "\n".join(screen.display)
        assert shown.count("stopping") == 1
        assert "Traceback" not in shown
        # 5 s on a machine that does nothing else; `interruption.LIMIT_S` bounds the cleaning up.
        assert took < 20
        services = embedded_services(home)
        with services.connect() as conn:
            states = [release.state for release in ledger.all_releases(conn)]
        assert ledger.State.BUILDING not in states
        assert ledger.State.ABANDONED in states
        mine = {str(home.path), f"{home.path}/airflow"}
        left = [p for p in psutil.process_iter() if environment_of(p).get("AIRFLOW_HOME") in mine]
        assert left == []
    assert [s.name for s in stack.status(home) if s.running] == []


class Screen:
    """Receives what the terminal shows."""

    def __init__(self, stream: pyte.Stream) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._stream.feed(text)

    def flush(self) -> None:
        """Nothing is buffered."""


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def test_a_demo_that_fails_says_why_and_where_to_look(demo, tmp_path):
    broken = tmp_path / "broken.zip"
    write_sample(broken, ratings=500)
    broken.write_bytes(b"not the file that the md5 is of")
    done = demo("--source", str(broken))
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "fetch_dataset" in said
    assert "does not have the published md5" in said
    assert "production was not changed" in said
