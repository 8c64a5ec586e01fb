"""The command for accounts without a name or a home, and terminals that are not UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from recsys.embedded import airflow
from recsys.embedded.home import Home
from recsys.embedded.site import Site
from tests.recsys_command import RECSYS

NOBODY = 54321
"""A uid that no list of accounts has, as OpenShift gives one to each project."""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    ratings = "".join(f"{u},{m},{(u + m) % 9 / 2 + 0.5},{u}\n" for u in range(9) for m in range(9))
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.csv", "userId,movieId,rating,timestamp\n" + ratings)
        archive.writestr("movies.csv", "movieId,title,genres\n1,\N{CJK UNIFIED IDEOGRAPH-4E03},\n")
    return path


def environment(**variables: str) -> dict[str, str]:
    kept = ("PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | variables


@pytest.mark.parametrize(
    "terminal",
    [
        {"LANG": "C", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=lambda terminal: next(reversed(terminal)),
)
def test_a_terminal_with_another_encoding_shows_what_it_can(
    dataset: Path, terminal: dict[str, str]
) -> None:
    titles = dataset.with_name("titles.zip")
    with zipfile.ZipFile(dataset) as old, zipfile.ZipFile(titles, "w") as new:
        new.writestr("ratings.csv", old.read("ratings.csv") + "Amélie…七,1,1,1\n".encode())
        new.writestr("movies.csv", old.read("movies.csv"))
    done = subprocess.run(
        [RECSYS, "validate", str(titles)],
        env=environment(COLUMNS="200", **terminal),
        capture_output=True,
        check=False,
    )
    shown = (done.stdout + done.stderr).decode("latin-1")
    assert "Traceback" not in shown
    assert done.returncode == 1
    assert "too many rows of ratings.csv are invalid" in shown
    assert ("Amélie...?," if "latin-1" in terminal.values() else "Amelie...?,") in shown


def as_nobody(code: str) -> str:
    """Runs code after imports that it needs, as an account without a name; returns its output."""
    imports = (
        "import os, sys, psycopg, recsys.contract, recsys.ledger.actor\n"
        "from pathlib import Path\n"
        "from recsys.cli.output import user_name\n"
        "from recsys.embedded.home import Home\n"
        "from recsys.embedded.postgres import Postgres\n"
        "from recsys.errors import ConfigurationError\n"
        f"os.setgroups([]); os.setgid(0); os.setuid({NOBODY})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", imports + code],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
def test_an_account_without_name_and_home_gets_answers() -> None:
    with tempfile.TemporaryDirectory(prefix="recsys-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        shown = as_nobody(f"""
print(recsys.ledger.Actor.from_command_line(user_name(), "r"))
for folder in ("open/home", "closed", "."):
    try:
        Postgres(Home(Path({name!r}) / folder)).prepare()
    except ConfigurationError as error:
        print(error)
""").splitlines()
    assert f"name='uid {NOBODY}'" in shown[0]
    assert "cannot run as an account without a name" in shown[1]
    assert "RECSYS_PG_DSN" in shown[1]
    assert "closed: Permission denied" in shown[2]
    assert "set RECSYS_HOME" in shown[2]
    assert "read-only for this account" in shown[3]


def test_dags_and_site_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[3]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECSYS_HOME", raising=False)
    home = Home()
    assert home.path == tmp_path / ".recsys"
    assert airflow.environment(home)["AIRFLOW__CORE__DAGS_FOLDER"] == str(root / "dags")
    assert Site(home).source == root / "site"
