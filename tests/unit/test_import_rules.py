"""Each side imports with the other one blocked, and importing does nothing.

The lint contracts (`lint-imports`) read the source; this looks at what really happens.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from recsys.trainer_process import SHARED_MODULES
from tests.source_files import source_files

ROOT = Path(__file__).resolve().parents[2]
TRAINER_PYTHON = Path(
    os.environ.get("RECSYS_TRAINER_PYTHON", ROOT / "trainer" / ".venv" / "bin" / "python")
)
# What libraries look up for themselves whenever a model or a console is made, however late.
LOOKED_UP_BY_LIBRARIES = [
    "PYDANTIC_DISABLE_PLUGINS",
    "EAGER_IMPORT",
    *("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
]

PROBE = """
import importlib, importlib.abc, json, os, pkgutil, sys

import pydantic

names, blocked, harmless = (json.loads(argument) for argument in sys.argv[1:])
did, failed = [], {}


class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(name + " is blocked")


def ours():
    # The module of ours that is at work, unless it is only importing something else.
    frame = sys._getframe(1)
    while frame:
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] in ("recsys", "trainer", "verifier"):
            return name
        if name == "importlib._bootstrap":
            return None
        frame = frame.f_back


class Watched(type(os.environ)):
    def note(self, what):
        if what not in harmless and (module := ours()):
            did.append(f"{module} reads the environment: {what}")

    def __getitem__(self, name):
        self.note(name)
        return super().__getitem__(name)

    def __iter__(self):
        self.note("all of it")
        return super().__iter__()


def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        did.append(f"{ours()}: {event} {arguments[1:]}")
    elif event in ("open", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename", "os.fork"):
        # A package's public face is read from its stub, which is source like the module itself.
        if (module := ours()) and not str(arguments[0]).endswith("__init__.pyi"):
            did.append(f"{module}: {event} {arguments[:2]}")


# The first model of a process has pydantic look for plugins among all that is installed.
pydantic.create_model("First")
sys.meta_path.insert(0, Blocker())
watched = object.__new__(Watched)
watched.__dict__.update(os.environ.__dict__)
os.environ = watched
sys.addaudithook(hook)

modules = []
for name in names:
    module = importlib.import_module(name)
    modules.append(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        try:
            importlib.import_module(found.name)
        except Exception as error:
            failed[found.name] = repr(error)
        modules.append(found.name)

print(json.dumps({
    "modules": modules,
    "failed": failed,
    "did": did,
    "shared": sorted(name for name in sys.modules if name.partition(".")[0] == "recsys"),
}))
"""


@functools.cache
def domain_modules_named_by_the_trainer() -> set[str]:
    """The modules of recsys that the trainer's sources import, early or late."""
    found = set()
    for path in source_files(ROOT / "trainer", ".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "recsys":
                found |= {f"recsys.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("recsys."):
                found.add(str(node.module))
    return found


@dataclass(frozen=True)
class Side:
    """What one image holds."""

    python: Path
    imports: tuple[str, ...]
    without: tuple[str, ...]
    expects: frozenset[str]
    """Some of the modules that must be among those imported."""


@dataclass(frozen=True)
class Report:
    """What importing all modules of a side did."""

    modules: list[str]
    failed: dict[str, str]
    did: list[str]
    shared: list[str]


SIDES = {
    "pipeline": Side(
        Path(sys.executable),
        imports=("recsys",),
        without=("airflow", "keras", "tensorflow", "recsys_dag", "trainer", "verifier"),
        expects=frozenset({"recsys.cli", "recsys.pipeline", "recsys.embedded.airflow"}),
    ),
    "shared": Side(
        Path(sys.executable),
        imports=("recsys.contract", "recsys.errors", "recsys.object_store", "recsys.evaluation"),
        without=(
            *("airflow", "keras", "tensorflow", "recsys_dag", "trainer", "verifier"),
            *("sklearn", "psycopg", "requests", "typer", "rich"),
        ),
        expects=frozenset(),
    ),
    "trainer": Side(
        TRAINER_PYTHON,
        imports=("trainer", *sorted(domain_modules_named_by_the_trainer())),
        without=("airflow", "recsys_dag", "psycopg", "tenacity", "typer"),
        expects=frozenset({"trainer.__main__", "trainer.release"}),
    ),
    "verifier": Side(
        TRAINER_PYTHON,
        imports=("verifier",),
        without=("airflow", "recsys_dag", "psycopg", "tenacity", "typer", "trainer"),
        expects=frozenset({"verifier.__main__", "verifier.measure"}),
    ),
}


def probe(python: Path, imports: Sequence[str], without: Sequence[str], root: Path) -> Report:
    """Imports modules and all below them in a process of its own."""
    if not python.exists():
        pytest.fail(f"{python} is missing: run `make setup`")
    done = subprocess.run(
        [
            *(python, "-c", PROBE),
            *map(json.dumps, (imports, without, LOOKED_UP_BY_LIBRARIES)),
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Report(**json.loads(done.stdout.splitlines()[-1]))


@functools.cache
def report(side: str) -> Report:
    """What importing all modules of a side did; asked once for each."""
    about = SIDES[side]
    return probe(about.python, about.imports, about.without, ROOT)


@pytest.mark.parametrize("side", SIDES)
def test_all_modules_import_with_the_other_side_blocked(side: str) -> None:
    assert report(side).failed == {}
    assert {*SIDES[side].imports, *SIDES[side].expects} <= set(report(side).modules)


@pytest.mark.parametrize("side", SIDES)
def test_importing_does_no_input_or_output_and_reads_no_environment(side: str) -> None:
    assert report(side).did == []


def test_the_trainer_uses_of_the_domain_what_its_digest_covers() -> None:
    # Else a change there would make other releases, and no run would notice that it is due.
    shared = {name.removesuffix(".py") for name in SHARED_MODULES} - {"__init__"}
    assert {name.split(".")[1] for name in report("trainer").shared if "." in name} == shared


BREACHES = {
    "reads": ("import os\nos.environ.get('SECRET')", "trainer.reads reads the environment: SECRET"),
    "copies": ("import os\ndict(os.environ)", "trainer.copies reads the environment: all of it"),
    "settles": (
        "from recsys.object_store import S3Settings\nS3Settings(bucket='bucket')",
        "trainer.settles reads the environment",
    ),
    "writes": ("open('written', 'w').close()", "trainer.writes: open ('written', 'w')"),
    "looks": ("open('/dev/null').close()", "trainer.looks: open ('/dev/null', 'r')"),
    "calls": (
        "import socket\nsocket.socket().connect_ex(('127.0.0.1', 9))",
        "trainer.calls: socket.connect (('127.0.0.1', 9),)",
    ),
    "runs": ("import subprocess\nsubprocess.run(['true'])", "trainer.runs: subprocess.Popen"),
}


def test_modules_that_violate_the_rules_are_reported(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").touch()
    (tmp_path / "trainer" / "needs.py").write_text("import airflow")
    for name, (source, _) in BREACHES.items():
        (tmp_path / "trainer" / f"{name}.py").write_text(source)
    found = probe(Path(sys.executable), ("trainer",), ("airflow",), tmp_path)
    assert found.failed == {"trainer.needs": "ImportError('airflow is blocked')"}
    for name, (_, expected) in BREACHES.items():
        assert [line for line in found.did if line.startswith(expected)], (name, found.did)
