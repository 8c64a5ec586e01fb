"""Help, usage, and what a command imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from recsys.cli.app import app
from tests.command_line import (
    INHERITED,
    CommandLine,
    Done,
)
from tests.recsys_command import loaded_by_recsys

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group

HELP = """
import json, sys
from typer.testing import CliRunner
from recsys.cli.app import app
asked = [[*command, "--help"] for command in json.loads(sys.argv[1])]
answers = [CliRunner().invoke(app, arguments) for arguments in asked]
print(json.dumps([[answer.exit_code, answer.output] for answer in answers]))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, Done]:
    """What `--help` says, asked in one process of the same kind as the command's."""
    asked = [[], *([name] for name in COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-c", HELP, json.dumps(asked)],
        env={"PATH": os.environ["PATH"], "COLUMNS": "80", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        name: Done(code, out, "")
        for name, (code, out) in zip(["", *COMMANDS], json.loads(done.stdout), strict=True)
    }


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_says_what_a_command_does_and_lists_all_it_takes(
    helps: dict[str, Done], name: str
) -> None:
    done = helps[name]
    assert done.code == 0
    assert [line for line in done.out.splitlines() if len(line) > 80] == []
    assert COMMANDS[name].help.split(".")[0].split("\n")[0] in done.words
    for parameter in COMMANDS[name].params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
        assert shown.lower() in done.out.lower()
        assert parameter.help, f"{name} {shown} says nothing of itself"


def test_help_lists_all_commands_and_the_exit_codes(helps: dict[str, Done]) -> None:
    assert helps[""].code == 0
    for name in COMMANDS:
        assert f" {name} " in helps[""].out
    for code in ("0 success", "1 permanent failure", "2 wrong usage", "75 temporary failure"):
        assert code in helps[""].words


def test_wrong_usage_ends_with_2(recsys: CommandLine) -> None:
    done = recsys("status", "--no-such-option")
    assert (done.code, done.out) == (2, "")
    assert "--no-such-option" in done.words


def test_status_imports_clients_of_the_servers_and_no_library_for_data(recsys: CommandLine) -> None:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env = {**inherited, "RECSYS_HOME": str(recsys.home.path)}
    loaded = loaded_by_recsys("status", env=env)
    assert {"psycopg", "boto3"} <= loaded
    heavy = {"jinja2", "matplotlib", "numpy", "optuna", "pandas", "polars", "requests", "scipy"}
    assert loaded & heavy == set()
