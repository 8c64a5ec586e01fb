"""What a new user meets: wrong paths, stopped servers, folders that cannot be written to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECSYS = Path(sys.executable).with_name("recsys")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def recsys(
    home: Path, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RECSYS", "AIRFLOW"))}
    return subprocess.run(
        [RECSYS, *arguments],
        env=kept | {"RECSYS_HOME": str(home), "COLUMNS": "200"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("command", ["demo", "run", "up", "train"])
def test_a_wrong_path_is_refused_before_any_server_starts(
    home: Path, tmp_path: Path, command: str
) -> None:
    wrong = tmp_path / "wrong.zip"
    done = recsys(home, command, "--source", str(wrong))
    assert done.returncode == 1
    assert str(wrong) in done.stderr
    assert "Traceback" not in done.stderr
    # Neither a server was started nor the path kept for the next command.
    assert not list(home.glob("*/*.log"))
    assert not (home / "source").exists()


def test_a_zip_without_its_md5_names_the_file_that_is_missing(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(b"PK")
    done = recsys(home, "demo", "--source", str(path))
    assert done.returncode == 1
    assert f"{path}.md5 does not exist" in done.stderr
    assert "md5sum" in done.stderr


def test_a_server_without_a_name_is_a_temporary_failure_said_once(home: Path) -> None:
    done = recsys(home, "demo", "--source", "https://no-such-server.invalid/x.zip")
    assert done.returncode == 75
    assert done.stderr.count("error:") == 1
    assert not list(home.glob("*/*.log"))


def test_addresses_of_stopped_servers_are_not_printed(home: Path) -> None:
    done = recsys(home, "env")
    assert (done.returncode, done.stdout) == (75, "")
    assert "up --data-only" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("status",), ("demo",), ("sample", "/proc/no/x.zip"), ("env",)]
)
def test_what_cannot_be_written_to_is_named_without_a_traceback(arguments: tuple[str, ...]) -> None:
    done = recsys(Path("/proc/no"), *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "/proc/no" in done.stderr


def test_how_to_go_on_is_said_as_it_works(home: Path, tmp_path: Path) -> None:
    """The command is not on PATH, as after `make demo`; the path that is printed works."""
    binaries = tmp_path / "project" / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "recsys").symlink_to(RECSYS)
    command = [str(binaries / "recsys"), "sample", str(tmp_path / "s.zip"), "--ratings", "100"]
    kept = {k: v for k, v in os.environ.items() if k != "PATH"} | {"PATH": os.defpath}
    done = subprocess.run(
        command, cwd=tmp_path / "project", env=kept, capture_output=True, text=True, check=True
    )
    said = done.stdout.partition("Try it:")[2].split()
    assert said[:2] == [".venv/bin/recsys", "demo"]
    version = [tmp_path / "project" / said[0], "--version"]
    assert subprocess.run(version, check=False, capture_output=True).returncode == 0


def test_help_and_version_have_the_usual_names(home: Path) -> None:
    for name in ("--version", "-V"):
        assert recsys(home, name).stdout.startswith("recsys ")
    assert recsys(home, "-h").stdout == recsys(home, "--help").stdout
    assert "--limit" in recsys(home, "similar", "-h").stdout
    assert "<bool>" not in recsys(home, "train", "-h").stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_clean_asks_before_it_deletes_releases(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "Makefile", tmp_path)
    (tmp_path / ".recsys").mkdir()
    make = ["make", "-C", str(tmp_path), "clean"]
    refused = subprocess.run(make, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "YES=1" in refused.stderr
    assert (tmp_path / ".recsys").exists()
    subprocess.run([*make, "YES=1"], check=True, capture_output=True)
    assert not (tmp_path / ".recsys").exists()
