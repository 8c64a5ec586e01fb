"""A command imports what it needs, so that it starts quickly; listing the commands needs little."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import timedelta
from typing import Final

import pytest

from recsys import contract, releases
from recsys.cli import defaults
from recsys.cli.commands import ENTRIES, LoadedCommands
from tests.recsys_command import loaded_by_recsys

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
    "requests",
    "scipy",
    "sklearn",
}
CLIENTS: Final = {"asyncio", "psutil", "psycopg", "pydantic", "pydantic_settings", "urllib3"}
_ALL_COMMANDS: Final = """
import sys
from recsys.cli.commands import LoadedCommands
print(len(list(LoadedCommands().values())), *sys.modules)
"""


@pytest.mark.parametrize("name", ["demo", "status", "train"])
def test_the_help_of_a_command_imports_neither_clients_nor_settings(name: str) -> None:
    loaded = loaded_by_recsys(name, "--help")
    assert {"recsys", "typer"} <= loaded
    assert loaded & (HEAVY | CLIENTS) == set()


def test_the_list_of_commands_imports_neither_clients_nor_settings() -> None:
    loaded = loaded_by_recsys("--help")
    assert {"recsys", "typer"} <= loaded
    assert loaded & (HEAVY | CLIENTS) == set()


def test_no_commands_module_imports_a_library_that_its_help_does_not_need() -> None:
    done = subprocess.run(  # our own interpreter
        [sys.executable, "-c", _ALL_COMMANDS], capture_output=True, text=True, check=True
    )
    count, *modules = done.stdout.split()
    assert int(count) == len(ENTRIES)
    assert {name.partition(".")[0] for name in modules} & (HEAVY | CLIENTS) == set()


def test_status_and_why_read_the_statistics_of_a_dataset_without_polars_and_numpy() -> None:
    program = "import sys, recsys.monitoring.{0}; print(*sys.modules)"
    loaded = {
        module: set(
            subprocess.run(  # our own interpreter
                [sys.executable, "-c", program.format(module)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        )
        for module in ("status", "dataset_statistics")
    }
    assert "recsys.features.stats" in loaded["dataset_statistics"]
    assert loaded["dataset_statistics"] & {"polars", "numpy"} == set()
    assert loaded["status"] & {"recsys.gate", "recsys.features", "polars"} == set()


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_the_list_of_commands_says_what_a_command_says_of_itself(name: str) -> None:
    command = LoadedCommands()[name]
    assert command.name == name
    assert command.rich_help_panel == ENTRIES[name].panel
    said = (inspect.getdoc(command.callback) or "").partition("\n\n")[0]
    assert ENTRIES[name].summary == " ".join(said.split())


def test_the_defaults_of_options_are_those_of_the_packages() -> None:
    assert defaults.SEED == contract.TrainerSettings().seed
    assert defaults.KEEP_RELEASES == releases.RetentionSettings().keep_releases
    assert timedelta(hours=defaults.ORPHAN_HOURS) == releases.GRACE


def test_an_unknown_command_is_no_command() -> None:
    assert "promot" not in LoadedCommands()
    assert LoadedCommands().get("promot") is None
